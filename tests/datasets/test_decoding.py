import os
import struct
import zlib
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from helpers.datasets import cache, decoding
from tests.datasets.test_cache import noise, save

BILINEAR = Image.Resampling.BILINEAR


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_deep_images_are_scaled_so_that_their_bits_fill_the_range(tmp_path, suffix, bits):
    deep = np.random.default_rng(4).integers(0, 2**bits, (12, 12)).astype(np.uint16)
    deep[0, 0], deep[0, 1] = 2**bits - 1, 0
    path = save(tmp_path / f"deep.{suffix}", deep)
    expected = deep.astype(np.float64) * 255 / (2**bits - 1)
    found = decoding.read_image(path, bits).pixels
    assert np.abs(found - expected).max() <= 0.5001 and found.max() == 255
    with pytest.raises(decoding.BitsFound, match=f"{bits} bits"):
        decoding.read_image(path, bits=2)


def test_an_image_is_gray_by_its_pixels_alone_and_transparency_is_left_out(tmp_path):
    gray, colour = noise(0, 40, 30), noise(0, 40, 30, 3)
    colour[..., 0] = colour[..., 1]  # blue alone tells it from gray
    as_colour = save(tmp_path / "same.png", np.repeat(gray[..., None], 3, axis=2))
    plain = save(tmp_path / "gray.bmp", gray)
    np.testing.assert_array_equal(decoding.read_image(as_colour, 0).pixels, gray)
    found = decoding.read_image(save(tmp_path / "c.png", colour), 0).pixels
    np.testing.assert_array_equal(found, colour)
    digests = {cache.decode(path, 16, 0)[1]["digest"] for path in (as_colour, plain)}
    assert len(digests) == 1
    assert cache.decode(tmp_path / "c.png", 16, 0)[1]["digest"] not in digests
    clear = save(tmp_path / "a.png", np.array([[[60, 60, 60, 255], [20, 20, 20, 0]]], np.uint8))
    assert decoding.read_image(clear, 0).pixels.tolist() == [[60, 20]]


def write_deep_png(path: Path, pixels: np.ndarray) -> Path:
    """Write 16 bits per channel, which Pillow cannot."""
    height, width, channels = pixels.shape
    rows = pixels.astype(">u2").reshape(height, -1).view(np.uint8)
    raw = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    colour_type = {2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks:
        check = struct.pack(">I", zlib.crc32(name + body))
        content += struct.pack(">I", len(body)) + name + body + check
    path.write_bytes(content)
    return path


def deep_noise(*shape: int) -> np.ndarray:
    return noise(0, *shape, high=2**16, dtype=np.uint16)


def retag(path: Path, before: bytes, after: bytes) -> Path:
    """Replace bytes of a TIFF file, which must hold them."""
    assert before in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(before, after))
    return path


def tag(number: int, value: int) -> bytes:
    return struct.pack("<HHIH", number, 3, 1, value)


def test_values_that_pillow_would_change_and_other_files_are_refused_with_the_reason(tmp_path):
    refused = {
        save(tmp_path / f"{dtype}.tif", np.array([[-3, 70_000]], dtype)): "numbers of 32 bits"
        for dtype in ("float32", "int32")
    }
    for channels in (2, 3, 4):
        path = write_deep_png(tmp_path / f"{channels}.png", deep_noise(5, 4, channels))
        refused[path] = "several channels of more than 8 bits"
    depths = [struct.pack("<3H", *[bits] * 3) for bits in (8, 16)]
    path = retag(save(tmp_path / "rgb.tif", noise(0, 5, 4, 3)), *depths)
    refused[path] = "several channels of more than 8 bits"
    path = retag(save(tmp_path / "white.tif", deep_noise(4, 4)), tag(262, 1), tag(262, 0))
    refused[path] = "0 is white"
    path = tmp_path / "ppm.png"  # deep colour, of which Pillow would take 8 bits
    path.write_bytes(b"P6 2 1 65535\n" + bytes(12))
    refused[path] = "not an image"
    for path, reason in refused.items():
        with pytest.raises((ValueError, UnidentifiedImageError)) as caught:
            decoding.read_image(path, 16)
        assert reason in cache.unreadable_reason(path, caught.value), path
        assert cache.depth_of([path]) == 0


TURNED = {  # how a camera stores an image that is upright with this EXIF orientation
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: np.swapaxes(p, 0, 1),
    6: np.rot90,
    7: lambda p: np.swapaxes(np.rot90(p, 2), 0, 1),
    8: lambda p: np.rot90(p, -1),
}


@pytest.mark.parametrize("orientation", list(TURNED))
@pytest.mark.parametrize("kind", ["png", "tif", "gray.tif", "webp", "deep.png", "deep.tif"])
def test_an_image_is_turned_upright_as_its_exif_data_say(tmp_path, kind, orientation):
    plain = noise(0, 6, 4) if kind == "gray.tif" else noise(0, 6, 4, 3)
    upright = deep_noise(6, 4) if kind.startswith("deep") else plain
    stored = Image.fromarray(np.ascontiguousarray(TURNED[orientation](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{kind}"
    stored.save(path, exif=exif, lossless=True)
    np.testing.assert_array_equal(decoding.read_image(path, 16).original, upright)


def test_a_lack_of_memory_while_an_image_is_turned_is_not_taken_for_damage(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding.ImageOps, "exif_transpose", Mock(side_effect=MemoryError))
    with pytest.raises(MemoryError):
        decoding.read_image(save(tmp_path / "a.png", noise(0, 6, 4)), 0)


@pytest.mark.parametrize("kind", ["tiff", "png", "gif"])
def test_the_first_of_several_frames_is_read_and_the_file_is_marked(tmp_path, kind):
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (10, 200)]
    with (tmp_path / "two.png").open("w+b") as file:  # the suffix does not decide
        frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    found = decoding.read_image(tmp_path / "two.png", 0)
    assert found.has_more and (found.pixels == 10).all()
    assert not decoding.read_image(save(tmp_path / "one.png", noise(0, 4, 4)), 0).has_more


def test_a_pipe_or_a_device_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    paths = [tmp_path / f"{name}.png" for name in ("pipe", "link", "zero")]
    assert cache.depth_of(paths) == 0
    for path in paths:
        with pytest.raises(ValueError, match=r"^not a file$"):
            decoding.read_image(path, 16)


def test_padding_keeps_the_shape_and_adds_a_border_in_the_mean_colour_of_the_edge():
    pixels = np.full((20, 40), 50, np.uint8)
    pixels[0] = 170
    found = decoding.resize(pixels, 20, "pad")
    expected = Image.fromarray(pixels).resize((20, 10), BILINEAR)
    np.testing.assert_array_equal(found[5:15], np.asarray(expected))
    border = round(np.concatenate((pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])).mean())
    assert (found[:5] == border).all() and (found[15:] == border).all()
    tall = decoding.resize(np.repeat(pixels.T[..., None], 3, axis=2), 20, "pad")
    np.testing.assert_array_equal(tall, np.repeat(found.T[..., None], 3, axis=2))
