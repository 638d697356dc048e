import os
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.datasets import DataError, cache
from helpers.datasets.cache import open_cache

TURNED = Image.Exif()
TURNED[0x0112] = 6  # a quarter turn to the right


def table_of(*paths: Path) -> pd.DataFrame:
    return pd.DataFrame({"id": [p.stem for p in paths], "path": [p.as_posix() for p in paths]})


def noise(seed: int, *shape: int, high: int = 256, dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def pillow(path: Path, mode: str, size_px: int) -> np.ndarray:
    with Image.open(path) as image:
        resized = image.convert(mode).resize((size_px, size_px), Image.Resampling.BILINEAR)
    return np.asarray(resized)


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "cache"


SHAPES = {"a.png": (40, 30), "b.bmp": (24, 36), "c.png": (17, 17)}


@pytest.fixture
def gray_files(tmp_path) -> list[Path]:
    return [save(tmp_path / n, noise(i, *SHAPES[n])) for i, n in enumerate(SHAPES)]


@pytest.fixture
def damaged_files(tmp_path, gray_files) -> list[Path]:
    contents = {"empty.png": b"", "text.jpg": b"no image"}
    contents["cut.bmp"] = gray_files[1].read_bytes()[:1400]
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    empty, text, cut = (tmp_path / name for name in contents)
    return [gray_files[0], empty, gray_files[1], text, cut]


def test_gray_files_stay_one_channel_and_equal_pillow_s_resized_pixels(root, gray_files):
    found = open_cache(table_of(*gray_files), 16, root)
    assert found.pixels.shape == (3, 16, 16, 1)
    assert (found.size_px, found.channels, found.unreadable) == (16, 1, {})
    for row, path in enumerate(gray_files):
        np.testing.assert_array_equal(found.pixels[row, :, :, 0], pillow(path, "L", 16))
    about = found.table[["id", "height_px", "width_px"]].itertuples(index=False, name=None)
    assert [*about] == [("a", 40, 30), ("b", 24, 36), ("c", 17, 17)]
    assert found.table["mean"][0] == pytest.approx(noise(0, 40, 30).mean(), rel=1e-12)
    assert open_cache(table_of(*gray_files), 8, root).pixels.shape == (3, 8, 8, 1)
    assert "gray images of 17 x 17 to 36 x 40 px: 3; kept at 16 px" in found.report
    rows = found.rows(pd.Series(["c", "a", "b", "a"]))
    np.testing.assert_array_equal(found.take(rows), found.pixels[[2, 0, 1, 0]])
    with pytest.raises(DataError, match=r"^image 'z' is not in the cache; run 01_data_split"):
        found.rows(pd.Series(["a", "z"]))


@pytest.mark.parametrize("place", [0, 3])
def test_one_colour_file_anywhere_makes_all_images_three_channels_and_each_is_decoded_once(
    tmp_path, root, gray_files, place, monkeypatch
):
    read, decode = [], cache.decode
    monkeypatch.setattr(cache, "decode", lambda path, *how: read.append(path) or decode(path, *how))
    colour = save(tmp_path / "d.jpg", noise(3, 40, 40, 3), quality=95)
    paths = [*gray_files[:place], colour, *gray_files[place:]]
    found = open_cache(table_of(*paths), 16, root)
    assert found.pixels.shape == (4, 16, 16, 3) and sorted(read) == sorted(paths)
    for row, path in enumerate(paths):
        np.testing.assert_array_equal(found.pixels[row], pillow(path, "RGB", 16))
    assert found.report.startswith("colour images")


def test_all_deep_images_are_scaled_by_the_brightest_and_colour_may_follow(tmp_path, root):
    brightest, paths = (200, 900, 3500, 60000), []
    for number, largest in enumerate(brightest):
        deep = noise(number, 12, 12, high=min(largest, 900), dtype=np.uint16)
        deep[0, 0] = largest
        paths.append(save(tmp_path / f"{number}.png", deep))
    colour = save(tmp_path / "colour.png", noise(3, 12, 12, 3))
    found = open_cache(table_of(*paths, colour), 12, root)
    assert found.pixels.shape == (5, 12, 12, 3) and found.bits == 16
    expected = [round(largest * 255 / 65535) for largest in brightest]
    assert found.pixels[:4, 0, 0].tolist() == [[value] * 3 for value in expected]
    np.testing.assert_array_equal(found.pixels[4], pillow(colour, "RGB", 12))


def test_other_content_of_equal_name_size_and_time_is_not_taken_for_the_old_one(tmp_path, root):
    path = save(tmp_path / "a.bmp", noise(0, 24, 36))
    first, before = open_cache(table_of(path), 16, root), path.stat()
    time.sleep(0.01)  # the clock of a file system ticks every few milliseconds
    save(path, noise(1, 24, 36))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    found = open_cache(table_of(path), 16, root)
    np.testing.assert_array_equal(found.pixels[0, :, :, 0], pillow(path, "L", 16))
    assert found.digest != first.digest


def test_files_that_were_copied_are_not_decoded_again(tmp_path, root, damaged_files, monkeypatch):
    open_cache(table_of(*damaged_files), 16, root, skip_unreadable=True)
    (tmp_path / "copy").mkdir()
    copies = [Path(shutil.copyfile(p, tmp_path / "copy" / p.name)) for p in damaged_files]
    monkeypatch.setattr("PIL.Image.open", None)
    found = open_cache(table_of(*copies), 16, root, skip_unreadable=True)
    assert found.table.id.tolist() == ["a", "b"]
    assert found.unreadable["empty"] == "the file is empty (0 bytes)"
    with pytest.raises(DataError, match=str(copies[1])):  # named at the new place
        open_cache(table_of(*copies), 16, root)


@pytest.mark.parametrize("name", ["cache.json", "images.csv", "images.u8"])
@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b"9" + b[1:], lambda b: b""])
def test_a_damaged_cache_is_made_again(root, gray_files, name, damage):
    before = open_cache(table_of(*gray_files), 16, root)
    (file,) = root.rglob(name)
    whole = file.read_bytes()
    file.unlink()  # the open cache still reads its content
    file.write_bytes(damage(whole))
    cache._digest_once.cache_clear()  # as in a new process
    again = open_cache(table_of(*gray_files), 16, root)
    assert again.digest == before.digest and file.read_bytes() == whole


def test_an_edit_of_the_code_decodes_the_images_again(root, gray_files, monkeypatch):
    table, size = table_of(*gray_files), (16, 16)
    bilinear = open_cache(table, 16, root)
    monkeypatch.setattr(
        cache.decoding,
        "resize",
        lambda p, *_: np.asarray(Image.fromarray(p).resize(size, Image.NEAREST)),
    )
    monkeypatch.setattr(cache, "EDITED", 1, raising=False)
    assert open_cache(table, 16, root).digest != bilinear.digest


def test_images_of_several_shapes_are_padded_if_asked_for_and_a_squash_of_them_is_said(
    root, gray_files
):
    table = table_of(*gray_files)
    padded, squashed = (open_cache(table, 16, root, fit=fit) for fit in ("pad", "squash"))
    for row, shape in enumerate(SHAPES.values()):
        expected = cache.decoding.resize(noise(row, *shape), 16, "pad")
        np.testing.assert_array_equal(padded.pixels[row, :, :, 0], expected)
    assert padded.fit == "pad" and squashed.digest != padded.digest
    assert "FIT=pad" in squashed.report and "FIT" not in padded.report
    assert "FIT" not in open_cache(table[2:], 16, root).report  # of one shape


def test_unreadable_files_are_all_listed_in_one_error_or_left_out(tmp_path, root, damaged_files):
    gone, link = tmp_path / "gone.png", tmp_path / "link.png"
    link.symlink_to(tmp_path / "nowhere.png")
    negative = save(tmp_path / "negative.tif", np.array([[-3.0, 9.0]], np.float32))
    table = table_of(*damaged_files, gone, link, negative)
    with pytest.raises(DataError) as caught:
        open_cache(table, 16, root)
    reasons = [line.strip() for line in str(caught.value).splitlines()[1:-1]]
    names = ("empty.png", "text.jpg", "cut.bmp", "gone.png", "link.png", "negative.tif")
    assert [reason.split(":")[0] for reason in reasons] == [str(tmp_path / name) for name in names]
    assert "SKIP_UNREADABLE=True" in str(caught.value)
    found = open_cache(table, 16, root, skip_unreadable=True)
    assert found.table.id.tolist() == ["a", "b"]
    np.testing.assert_array_equal(found.pixels[1, :, :, 0], pillow(damaged_files[2], "L", 16))
    assert "left out: empty: the file is empty" in found.report
    save(tmp_path / "nowhere.png", noise(9, 40, 30))  # mended: another cache
    assert open_cache(table, 16, root, skip_unreadable=True).table.id.tolist() == ["a", "b", "link"]


def test_images_that_changed_since_the_split_are_named_and_those_saved_again_are_not(
    tmp_path, root, gray_files
):
    table = table_of(*gray_files)
    split = table.assign(digest=open_cache(table, 16, root).table.digest)
    assert open_cache(table, 16, root).changed_images(split) == []
    gray_files[1].unlink()
    save(gray_files[0], noise(0, 40, 30), compress_level=1)  # other bytes, the same pixels
    save(gray_files[2], noise(9, 17, 17))
    later = open_cache(split, 16, root, skip_unreadable=True)
    assert later.changed_images(split) == ["b", "c"]
