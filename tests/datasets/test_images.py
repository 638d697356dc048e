import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.core import files
from helpers.datasets import DataError
from helpers.datasets import cache as images


def files_table(*paths: Path) -> pd.DataFrame:
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
def gray_files(tmp_path) -> list[Path]:
    return [
        save(tmp_path / "a.png", noise(0, 40, 30)),
        save(tmp_path / "b.bmp", noise(1, 24, 36)),
        save(tmp_path / "c.png", noise(2, 17, 17)),
    ]


@pytest.fixture
def damaged_files(tmp_path, gray_files) -> list[Path]:
    empty, text, cut = tmp_path / "empty.png", tmp_path / "text.jpg", tmp_path / "cut.bmp"
    empty.write_bytes(b"")
    text.write_text("no image at all")
    cut.write_bytes(gray_files[1].read_bytes()[:1400])
    return [gray_files[0], empty, gray_files[1], text, cut]


def test_gray_files_stay_one_channel_and_equal_pillows_resized_pixels(tmp_path, gray_files):
    cache = images.open_cache(files_table(*gray_files), 16, tmp_path / "cache")
    assert cache.pixels.shape == (3, 16, 16, 1)
    assert (cache.size_px, cache.channels, cache.unreadable) == (16, 1, ())
    for row, path in enumerate(gray_files):
        np.testing.assert_array_equal(cache.pixels[row, :, :, 0], pillow(path, "L", 16))
    assert cache.table.id.tolist() == ["a", "b", "c"]
    assert cache.table.width_px.tolist() == [30, 36, 17]
    assert cache.table.height_px.tolist() == [40, 24, 17]
    assert cache.table["mean"][0] == pytest.approx(noise(0, 40, 30).mean(), rel=1e-8)
    assert cache.table["std"][0] == pytest.approx(noise(0, 40, 30).std(), rel=1e-8)
    assert cache.report == "3 gray images at 16 px"


def test_one_colour_file_makes_all_of_a_mixed_folder_three_channels(tmp_path, gray_files):
    colour = save(tmp_path / "d.jpg", noise(3, 40, 40, 3), quality=95)
    cache = images.open_cache(files_table(*gray_files, colour), 16, tmp_path / "cache")
    assert cache.pixels.shape == (4, 16, 16, 3)
    for row, path in enumerate([*gray_files, colour]):
        np.testing.assert_array_equal(cache.pixels[row], pillow(path, "RGB", 16))
    assert cache.report == "4 colour images at 16 px"


def test_a_colour_file_that_no_probe_looked_at_is_found_while_decoding(
    tmp_path, gray_files, monkeypatch
):
    monkeypatch.setattr(images, "COLOUR_PROBES", 1)
    colour = save(tmp_path / "d.png", noise(3, 40, 40, 3))
    cache = images.open_cache(files_table(*gray_files, colour), 16, tmp_path / "cache")
    assert cache.channels == 3
    np.testing.assert_array_equal(cache.pixels[3], pillow(colour, "RGB", 16))
    np.testing.assert_array_equal(cache.pixels[0], pillow(gray_files[0], "RGB", 16))


def test_a_gray_image_saved_as_colour_is_gray_and_a_copy_of_the_gray_one(tmp_path, gray_files):
    same = save(tmp_path / "same.png", np.repeat(noise(0, 40, 30)[..., None], 3, axis=2))
    gray = images.open_cache(files_table(*gray_files, same), 16, tmp_path / "cache")
    assert gray.channels == 1
    colour = save(tmp_path / "d.png", noise(3, 40, 40, 3))
    mixed = images.open_cache(files_table(*gray_files, same, colour), 16, tmp_path / "cache")
    for digests in (gray.table.digest, mixed.table.digest):
        assert digests[0] == digests[3]
        assert digests.nunique() == len(digests) - 1
    assert mixed.table.digest[:4].tolist() == gray.table.digest.tolist()


@pytest.mark.parametrize(
    ("largest", "full_scale"), [(200, 255), (900, 1023), (4000, 4095), (16000, 16383), (65535,) * 2]
)
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_files_are_scaled_by_the_bits_that_the_camera_used(
    tmp_path, suffix, largest, full_scale
):
    deep = noise(4, 12, 12, high=largest, dtype=np.uint16)
    deep[0, 0], deep[0, 1] = largest, 0
    path = save(tmp_path / f"deep.{suffix}", deep)
    with Image.open(path) as image:
        assert image.mode.startswith("I")
    cache = images.open_cache(files_table(path), 12, tmp_path / "cache")
    expected = np.round(deep.astype(np.float64) * 255 / full_scale)
    assert np.abs(cache.pixels[0, :, :, 0] - expected).max() <= 1  # a half may round either way
    assert cache.pixels[0, 0, 0, 0] == round(largest * 255 / full_scale)


def deep_files(folder: Path, *brightest: int) -> list[Path]:
    """16-bit files of 12x12 px, each with its brightest value at the top left."""
    paths = []
    for number, largest in enumerate(brightest):
        deep = noise(number, 12, 12, high=min(largest, 900), dtype=np.uint16)
        deep[0, 0] = largest
        paths.append(save(folder / f"{number:03d}.png", deep))
    return paths


def test_a_bright_defect_that_no_probe_looked_at_is_not_cut_off(tmp_path):
    brightest = [1000] * 200
    brightest[100] = 3500  # of 12 bits; the sample is every third image
    paths = deep_files(tmp_path, *brightest)
    assert images.probe(paths) == (True, 10)
    assert images.probe(paths[:0]) == (True, 0)
    cache = images.open_cache(files_table(*paths), 12, tmp_path / "cache")
    assert cache.pixels[:, 0, 0, 0].max() == cache.pixels[100, 0, 0, 0] == round(3500 * 255 / 4095)
    assert cache.pixels[0, 0, 0, 0] == round(1000 * 255 / 4095)  # one scale for all
    assert len(cache.table) == 200
    again = images.open_cache(files_table(*paths), 12, tmp_path / "cache")
    np.testing.assert_array_equal(again.pixels, cache.pixels)


def test_more_bits_may_turn_up_several_times_and_colour_too(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "COLOUR_PROBES", 1)
    paths = deep_files(tmp_path, 200, 900, 3500, 60000)
    colour = save(tmp_path / "colour.png", noise(3, 12, 12, 3))
    cache = images.open_cache(files_table(*paths, colour), 12, tmp_path / "cache")
    assert cache.pixels.shape == (5, 12, 12, 3)
    expected = [round(largest * 255 / 65535) for largest in (200, 900, 3500, 60000)]
    assert cache.pixels[:4, 0, 0].tolist() == [[value] * 3 for value in expected]
    np.testing.assert_array_equal(cache.pixels[4], pillow(colour, "RGB", 12))


@pytest.mark.parametrize(
    ("largest", "full_scale"),
    [(1.02, 3), (65535.5, 2**17 - 1), (2.0**24, 2**25 - 1), (1e30, 2**100 - 1)],
)
def test_floating_point_images_beyond_what_cameras_deliver_are_not_cut_off(
    tmp_path, monkeypatch, largest, full_scale
):
    monkeypatch.setattr(images, "COLOUR_PROBES", 1)
    usual, bright = tmp_path / "usual.tif", tmp_path / "bright.tif"
    save(usual, np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8))
    save(bright, np.linspace(0, largest, 64, dtype=np.float32).reshape(8, 8))
    cache = images.open_cache(files_table(usual, bright), 8, tmp_path / "cache")
    assert cache.pixels[1].max() == round(largest * 255 / full_scale)
    assert cache.pixels[0].max() == round(255 / full_scale)
    assert len(np.unique(cache.pixels[1])) > 60


def test_negative_values_are_named_instead_of_cut_off(tmp_path):
    path = save(tmp_path / "a.tif", np.linspace(-3, 9, 64, dtype=np.float32).reshape(8, 8))
    with pytest.raises(DataError, match=r"a\.tif: holds negative values, down to -3: add to all"):
        images.open_cache(files_table(path), 8, tmp_path / "cache")


def test_an_infinite_value_in_the_sample_does_not_hide_the_bits_of_the_others(tmp_path):
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    whole = save(tmp_path / "whole.tif", values)
    values[3, 3] = np.inf
    damaged = save(tmp_path / "damaged.tif", values)
    table = files_table(damaged, whole)
    cache = images.open_cache(table, 8, tmp_path / "cache", skip_unreadable=True)
    assert cache.table.id.tolist() == ["whole"] and cache.pixels.max() == 255
    assert cache.unreadable[0][1] == "holds values that are not finite"


@pytest.mark.parametrize(("bits", "decoded_anew"), [(10, True), (16, False)])
def test_an_older_cache_whose_bits_were_a_guess_is_built_anew(
    tmp_path, gray_files, capsys, bits, decoded_anew
):
    table = files_table(*gray_files)
    images.open_cache(table, 16, tmp_path / "cache")
    (file,) = (tmp_path / "cache").rglob("cache.json")
    meta = files.load_json(file)
    del meta["digest"], meta[images.BITS]
    meta["bits"] = bits
    files.save_json(file, meta | {"digest": files.fingerprint(meta)})
    images.open_cache(table, 16, tmp_path / "cache")
    assert ("of an older version" in capsys.readouterr().out) == decoded_anew
    assert ("bits" in files.load_json(file)) != decoded_anew


def test_a_cache_is_opened_again_without_decoding(tmp_path, gray_files, monkeypatch):
    table = files_table(*gray_files)
    first = images.open_cache(table, 16, tmp_path / "cache")
    monkeypatch.setattr(images, "decode", None)
    again = images.open_cache(table, 16, tmp_path / "cache")
    np.testing.assert_array_equal(again.pixels, first.pixels)
    assert again.content == first.content
    pd.testing.assert_frame_equal(again.table, first.table)


def test_a_changed_file_or_another_size_gets_a_cache_of_its_own(tmp_path, gray_files):
    table = files_table(*gray_files)
    first = images.open_cache(table, 16, tmp_path / "cache")
    assert images.open_cache(table, 8, tmp_path / "cache").pixels.shape == (3, 8, 8, 1)
    save(gray_files[0], noise(9, 40, 30))
    os.utime(gray_files[0], ns=(1, 1))
    changed = images.open_cache(table, 16, tmp_path / "cache")
    assert changed.content != first.content
    np.testing.assert_array_equal(changed.pixels[0, :, :, 0], pillow(gray_files[0], "L", 16))


def test_all_unreadable_files_are_listed_in_one_error(tmp_path, damaged_files):
    with pytest.raises(DataError) as caught:
        images.open_cache(files_table(*damaged_files), 16, tmp_path / "cache")
    # The bitmap's 54 + 1024 bytes of header and palette leave 322 of its 864 bytes of pixels.
    folder = tmp_path.as_posix()
    assert str(caught.value) == (
        "3 image(s) cannot be read:\n"
        f"  {folder}/empty.png: the file is empty (0 bytes)\n"
        f"  {folder}/text.jpg: not an image\n"
        f"  {folder}/cut.bmp: image file is truncated (34 bytes not processed)\n"
        "Replace or delete them, or leave them out with -p SKIP_UNREADABLE=True"
    )
    assert list((tmp_path / "cache").iterdir()) == []  # nothing half-built is left


def test_skip_unreadable_leaves_them_out_and_says_so(tmp_path, damaged_files):
    table = files_table(*damaged_files)
    cache = images.open_cache(table, 16, tmp_path / "cache", skip_unreadable=True)
    assert cache.table.id.tolist() == ["a", "b"]
    np.testing.assert_array_equal(cache.pixels[1, :, :, 0], pillow(damaged_files[2], "L", 16))
    assert cache.report.splitlines()[:3] == [
        "2 gray images at 16 px",
        "left out: empty.png: the file is empty (0 bytes)",
        "left out: text.jpg: not an image",
    ]
    # The finished cache does not hide the damage from a run that must not skip.
    with pytest.raises(DataError, match=r"^3 image\(s\) cannot be read:\n"):
        images.open_cache(table, 16, tmp_path / "cache")


def test_a_folder_of_unreadable_files_alone_is_refused_even_with_skipping(tmp_path, damaged_files):
    table = files_table(damaged_files[1], damaged_files[3])
    with pytest.raises(DataError, match=r"^none of the images can be read$"):
        images.open_cache(table, 16, tmp_path / "cache", skip_unreadable=True)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("kind", ["png", "bmp", "jpg", "tif"])
def test_a_file_cut_anywhere_is_reported_and_never_stops_the_others(tmp_path, kind):
    whole = save(tmp_path / f"whole.{kind}", noise(5, 24, 24)).read_bytes()
    paths = [tmp_path / f"whole.{kind}"]
    for n in [*range(1, 60, 3), *range(60, len(whole) - 60, max(1, len(whole) // 20))]:
        paths.append(tmp_path / f"cut{n}.{kind}")
        paths[-1].write_bytes(whole[:n])
    cache = images.open_cache(files_table(*paths), 8, tmp_path / "cache", skip_unreadable=True)
    assert "whole" in set(cache.table.id)
    assert len(cache.unreadable) + len(cache.table) == len(paths)
    assert len(cache.unreadable) > 20


def test_missing_files_and_broken_links_are_listed_with_all_others_or_left_out(
    tmp_path, damaged_files
):
    gone, link = tmp_path / "gone.png", tmp_path / "link.png"
    link.symlink_to(tmp_path / "nowhere.png")
    table = files_table(*damaged_files, gone, link)
    with pytest.raises(DataError, match=r"^5 image\(s\) cannot be read:\n") as caught:
        images.open_cache(table, 16, tmp_path / "cache")
    for path in (gone, link):
        assert f"\n  {path}: No such file or directory\n" in str(caught.value)
    cache = images.open_cache(table, 16, tmp_path / "cache", skip_unreadable=True)
    assert cache.table.id.tolist() == ["a", "b"]
    assert "left out: link.png: No such file or directory" in cache.report
    save(tmp_path / "nowhere.png", noise(9, 40, 30))  # mended: another cache
    again = images.open_cache(table, 16, tmp_path / "cache", skip_unreadable=True)
    assert again.table.id.tolist() == ["a", "b", "link"]


def test_a_cache_that_is_taken_away_while_it_is_read_is_built_anew(
    tmp_path, gray_files, monkeypatch
):
    table = files_table(*gray_files)
    images.open_cache(table, 16, tmp_path / "cache")
    digest, calls = images._digest_of, []

    def gone_at_first(path):
        calls.append(path)
        if len(calls) == 1:
            path.unlink()
        return digest(path)

    monkeypatch.setattr(images, "_digest_of", gone_at_first)
    assert len(images.open_cache(table, 16, tmp_path / "cache").table) == 3


def test_a_disk_that_does_not_keep_what_is_written_is_named(tmp_path, gray_files, monkeypatch):
    monkeypatch.setattr(images, "_digest_of", lambda _: "other bytes")
    with pytest.raises(files.ArtifactError) as caught:
        images.open_cache(files_table(*gray_files), 16, tmp_path / "cache")
    (folder,) = (tmp_path / "cache").iterdir()
    assert str(caught.value) == (
        f"{folder} does not read back as it was written: check the disk, or set GOOD_BAD_HOME to a "
        "folder on another one"
    )


def test_take_keeps_the_order_asked_for_and_rows_finds_ids(tmp_path, gray_files):
    cache = images.open_cache(files_table(*gray_files), 16, tmp_path / "cache")
    rows = cache.rows(pd.Series(["c", "a", "b", "a"]))
    assert rows.tolist() == [2, 0, 1, 0]
    batch = cache.take(rows)
    for got, path in zip(batch, [gray_files[i] for i in (2, 0, 1, 0)], strict=True):
        np.testing.assert_array_equal(got[:, :, 0], pillow(path, "L", 16))
    with pytest.raises(DataError) as caught:
        cache.rows(pd.Series(["a", "z"]))
    assert str(caught.value) == "image 'z' is not in the cache; run 01_data_split again"


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("images.u8", "cut"),
        ("images.u8", "gone"),
        ("images.csv", "cut"),
        ("images.csv", "gone"),
        ("cache.json", "gone"),
    ],
)
def test_a_damaged_cache_file_is_rebuilt(tmp_path, gray_files, name, damage):
    table = files_table(*gray_files)
    before = np.array(images.open_cache(table, 16, tmp_path / "cache").pixels)
    (file,) = (tmp_path / "cache").rglob(name)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-5])
    else:
        file.unlink()
    again = images.open_cache(table, 16, tmp_path / "cache")
    np.testing.assert_array_equal(again.pixels, before)
    assert again.table.id.tolist() == ["a", "b", "c"]


def test_floating_point_images_from_0_to_1_fill_the_range(tmp_path):
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "a.tif")
    table = pd.DataFrame({"id": ["a"], "path": [str(tmp_path / "a.tif")]})
    cache = images.open_cache(table, 8, tmp_path / "cache")
    np.testing.assert_array_equal(cache.pixels[0, ..., 0], np.round(values * 255))


def test_reading_the_whole_cache_leaves_none_of_it_in_the_process_s_memory(tmp_path):
    pixels = np.arange(256, dtype=np.uint8).repeat(64 * 64).reshape(256, 64, 64, 1)
    (tmp_path / "images.u8").write_bytes(pixels.tobytes())
    mapped = np.memmap(tmp_path / "images.u8", np.uint8, "r", shape=pixels.shape)
    cache = images.ImageCache(mapped, pd.DataFrame({"id": np.arange(256).astype(str)}), "toy")
    rows = np.random.default_rng(0).permutation(256)
    assert (cache.take(rows) == pixels[rows]).all()
    assert (cache.take(rows) == pixels[rows]).all()  # dropped pages are read again
    resident = _resident_kib(tmp_path / "images.u8")
    assert resident is None or resident < 64, f"{resident} KiB of 1024 are still counted"


def _resident_kib(path):
    """How much of a mapped file counts as this process's memory; None where nobody says."""
    smaps = Path("/proc/self/smaps")
    lines = smaps.read_text().splitlines() if smaps.is_file() else []
    for number, line in enumerate(lines):
        if line.endswith(str(path)):
            return next(int(text.split()[1]) for text in lines[number:] if text[:4] == "Rss:")
    return None
