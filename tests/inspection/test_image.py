"""Decoding of what a camera, a scanner or a careless upload may send."""

import contextlib
import io
import resource
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from inspection.image import ImageError, decode_image, image_format, sha256_of
from inspection.image_headers import orientation_of

WIDTH, HEIGHT = 64, 48
EXIF = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x00\x00"  # without an entry


def picture(mode="RGB"):
    """An image with a red left and a blue right half (or dark and bright), so that a turn or a channel swap shows."""
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[:, : WIDTH // 2] = (200, 30, 20)
    rgb[:, WIDTH // 2 :] = (20, 30, 200)
    return Image.fromarray(rgb).convert(mode)


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def assert_is_the_picture(decoded, *, tolerance=12):
    """Check shape and type, and that the left is red and the right blue in BGR."""
    assert decoded.shape == (HEIGHT, WIDTH, 3)
    assert decoded.dtype == np.uint8
    assert np.abs(decoded[24, 8].astype(int) - (20, 30, 200)).max() <= tolerance
    assert np.abs(decoded[24, 56].astype(int) - (200, 30, 20)).max() <= tolerance


def refused(data, **options):
    with pytest.raises(ImageError) as caught:
        decode_image(data, **options)
    assert str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}, "jpeg"),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}, "jpeg"),
        ("PNG", {}, "png"),
        ("BMP", {}, "bmp"),
        ("WEBP", {"lossless": True}, "webp"),
        ("WEBP", {"quality": 95}, "webp"),
        ("TIFF", {}, "tiff"),
        ("TIFF", {"compression": "tiff_lzw"}, "tiff"),
    ],
)
def test_each_kind_is_known_by_its_content_and_decoded_to_bgr(kind, options, expected):
    """All five formats are recognised whatever the file is called."""
    data = encoded(picture(), kind, **options)
    assert image_format(data) == expected
    assert_is_the_picture(decode_image(data), tolerance=25 if kind == "WEBP" else 12)


@pytest.mark.parametrize("mode", ["RGBA", "P", "RGB"])
def test_alpha_and_palettes_become_colours(mode):
    """A PNG with transparency or a palette is decoded to BGR."""
    assert_is_the_picture(decode_image(encoded(picture(mode), "PNG")), tolerance=60 if mode == "P" else 12)


def test_transparent_pixels_keep_their_colour():
    """Alpha is dropped, not blended with black, so that a scratch on a transparent ground stays visible."""
    image = picture("RGBA")
    image.putalpha(0)
    assert_is_the_picture(decode_image(encoded(image, "PNG")))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_grey_picture_gets_three_equal_channels(kind):
    """Many cameras on lines deliver grey images."""
    decoded = decode_image(encoded(picture("L"), kind))
    assert decoded.shape == (HEIGHT, WIDTH, 3)
    assert (decoded[..., 0] == decoded[..., 1]).all()
    assert (decoded[..., 0] == decoded[..., 2]).all()
    assert decoded[24, 8, 0] != decoded[24, 56, 0]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_more_than_eight_bits_a_channel_are_refused_by_name(kind):
    """Of 12 bits in 16 the upper byte is nearly black, and the file does not say how many bits the camera used."""
    deep = Image.fromarray(np.full((HEIGHT, WIDTH), 0x0840, np.uint16))
    with pytest.raises(ImageError, match="16 bits") as caught:
        decode_image(encoded(deep, kind))
    assert caught.value.reason == "unreadable"
    assert "Mono8" in str(caught.value)


def test_the_bits_of_a_colour_tiff_lie_elsewhere_in_the_file():
    """Three numbers do not fit into the entry, which then holds their place."""
    deep = cv2.imencode(".tiff", np.full((HEIGHT, WIDTH, 3), 0x0840, np.uint16))[1].tobytes()
    with pytest.raises(ImageError, match="16 bits"):
        decode_image(deep)


def test_a_cmyk_jpeg_becomes_colours():
    """A scanner may write such a file; red stays red and is not inverted."""
    decoded = decode_image(encoded(picture("CMYK"), "JPEG", quality=95, subsampling=0))
    assert_is_the_picture(decoded, tolerance=25)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "shape", "red_at"),
    [
        (1, (HEIGHT, WIDTH), (24, 8)),
        (3, (HEIGHT, WIDTH), (24, 56)),
        (6, (WIDTH, HEIGHT), (8, 24)),
        (8, (WIDTH, HEIGHT), (56, 24)),
    ],
)
def test_a_turned_camera_gives_an_upright_picture(kind, orientation, shape, red_at):
    """EXIF orientation 6 turns the image clockwise: the left becomes the top, and the sides are swapped."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    decoded = decode_image(encoded(picture(), kind, exif=exif, **options))
    assert decoded.shape == (*shape, 3)
    assert decoded[red_at][2] > 150 > decoded[red_at][0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP"])
@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
def test_the_orientation_that_a_file_says_is_read_in_each_format(kind, orientation):
    """1 where it says none, and for a BMP, which has no place for it."""
    exif = Image.Exif()
    exif[0x0112] = orientation or 1
    data = encoded(picture(), kind, **({"exif": exif} if orientation and kind != "BMP" else {}))
    assert orientation_of(image_format(data), data) == (1 if kind == "BMP" else orientation or 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_damaged_orientation_is_none_for_a_report(kind):
    """An entry that points out of the file, and a file that ends within it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = bytearray(encoded(picture(), kind, exif=exif))
    at = data.index(b"II*\x00") if b"II*\x00" in data else data.index(b"MM\x00*")
    assert orientation_of(image_format(data), bytes(data[: at + 6])) == 1
    data[at + 4 : at + 8] = b"\xff\xff\xff\xff"
    assert orientation_of(image_format(data), bytes(data)) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_a_webp_is_that_of_a_png(orientation):
    """OpenCV turns a PNG by itself, and leaves a WebP as it is stored."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    corner = np.arange(WIDTH * HEIGHT * 3, dtype=np.uint32).reshape(HEIGHT, WIDTH, 3).astype(np.uint8)
    image = Image.fromarray(corner)
    turned = decode_image(encoded(image, "WEBP", lossless=True, exif=exif))
    assert np.array_equal(turned, decode_image(encoded(image, "PNG", exif=exif)))


def test_a_damaged_orientation_of_a_webp_is_none():
    """The picture is taken as it is stored."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = bytearray(encoded(picture(), "WEBP", lossless=True, exif=exif))
    at = data.index(b"II*\x00") if b"II*\x00" in data else data.index(b"MM\x00*")
    data[at + 4 : at + 8] = b"\xff\xff\xff\xff"
    assert decode_image(bytes(data)).shape == (HEIGHT, WIDTH, 3)


def test_a_tiff_of_several_pages_is_refused_like_an_animation():
    """It is unknown which page was labelled. A smaller copy of the picture is no page of its own."""
    pages = [picture(), picture().transpose(Image.Transpose.ROTATE_180)]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert refused(data) == "animated"
    thumbnail = picture().resize((16, 12))
    thumbnail.encoderinfo = {"tiffinfo": {254: 1}}
    data = encoded(picture(), "TIFF", save_all=True, append_images=[thumbnail])
    assert_is_the_picture(decode_image(data))


@pytest.mark.parametrize("said", [0, 1, 10**6, 0xFFFFFFFF])
def test_a_whole_bmp_with_a_wrong_length_in_its_header_is_taken(said):
    """Some writers leave the length out. The rows tell how long the file must be, and half of them is no picture."""
    data = encoded(picture(), "BMP")
    wrong = data[:2] + struct.pack("<I", said) + data[6:]
    assert_is_the_picture(decode_image(wrong))
    assert refused(wrong[: len(wrong) // 2]) in ("truncated", "unreadable")


def test_stray_bytes_between_the_segments_of_a_jpeg_are_passed_over():
    """Some cameras pad segments with zeros; libjpeg passes over them."""
    data = encoded(picture(), "JPEG", quality=95, subsampling=0)
    length = struct.unpack_from(">H", data, 4)[0]
    padded = data[: 4 + length] + b"\x00\x00" + data[4 + length :]
    assert_is_the_picture(decode_image(padded))


def test_zero_bytes_are_empty():
    """A full disk leaves such a file."""
    assert refused(b"") == "empty"


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        b"image,part\na.jpg,1\n",
        b"<svg/>",
        b"%PDF-1.7",
        b"\x00" * 1000,
        b"\xff\xd8",
        b"RIFF\x00\x00\x00\x00WAVE",
    ],
)
def test_what_is_no_image_is_said_to_be_none(data):
    """Text, a table, a drawing, zeros and a sound are refused as `not-an-image`."""
    assert refused(data) == "not-an-image"


@pytest.mark.parametrize("frames", [1, 3])
def test_a_gif_is_no_image_of_ours(frames):
    """A GIF is refused, still or animated: no camera of a line writes one."""
    data = encoded(picture("P"), "GIF", save_all=True, append_images=[picture("L")] * (frames - 1))
    assert refused(data) == "not-an-image"


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_refused(kind):
    """An animation is refused, because it is unknown which of its pictures was labelled."""
    other = Image.fromarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    data = encoded(picture(), kind, save_all=True, append_images=[other])
    assert refused(data) == "animated"


def noise():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9, 0.99])
def test_half_a_picture_is_none(kind, share):
    """libjpeg would fill the rest of a broken upload with grey, and it would be labelled and trained on."""
    data = encoded(noise(), kind)
    assert refused(data[: int(len(data) * share)]) in ("truncated", "unreadable")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_the_end_of_a_thumbnail_is_not_the_end_of_the_picture(share):
    """The JPEG of a camera may hold a small JPEG with an end mark of its own."""
    segment = b"Exif\x00\x00" + encoded(picture().resize((16, 12)), "JPEG")
    whole = encoded(noise().resize((WIDTH, HEIGHT)), "JPEG", quality=80)
    data = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + whole[2:]
    assert decode_image(data).tolist() == decode_image(whole).tolist()
    body = 4 + len(segment)
    assert refused(data[: body + int((len(data) - body) * share)]) == "truncated"


def test_what_a_camera_appends_after_a_picture_does_not_matter():
    """Some cameras append a film or padding after the end mark."""
    assert_is_the_picture(decode_image(encoded(picture(), "JPEG", quality=95, subsampling=0) + b"\x00" * 10_000))
    assert_is_the_picture(decode_image(encoded(picture(), "PNG") + b"\x00" * 10_000))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF"])
def test_a_header_alone_is_an_image_error_at_any_length(kind):
    """Each prefix of an image, byte by byte through its header, raises ImageError."""
    data = encoded(picture("RGBA"), kind, lossless=True, exif=EXIF) if kind == "WEBP" else encoded(picture(), kind)
    for length in range(1, min(len(data) - 1, 700)):
        assert refused(data[:length]) in ("not-an-image", "truncated", "unreadable", "too-large"), length


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF"])
def test_flipped_bytes_give_a_picture_or_an_image_error(kind):
    """Damaged bytes raise no other exception and crash nothing."""
    whole = encoded(picture(), kind)
    rng = np.random.default_rng(3)
    for _ in range(150):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 4):
            data[at] = int(rng.integers(0, 256))
        with contextlib.suppress(ImageError):
            assert decode_image(bytes(data), max_pixels=1_000_000).dtype == np.uint8


def test_a_picture_that_claims_to_be_enormous_is_refused_before_it_is_decoded(monkeypatch):
    """The header of a small PNG claims 100000 x 100000 pixels, which are never allocated."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    body = b"IDAT" + zlib.compress(b"\x00" * 1000)
    data = (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        + b"\x00\x00\x00\x00IEND\xaeB`\x82"
    )  # fmt: skip
    monkeypatch.setattr("cv2.imdecode", lambda *_: pytest.fail("it was decoded"))
    assert refused(data) == "too-large"


def test_a_chunk_that_claims_to_be_enormous_is_refused_before_it_is_read():
    """OpenCV would allocate 4 GB for a file of 200 bytes."""
    data = bytearray(encoded(picture(), "PNG"))
    at = data.index(b"IDAT") - 4
    data[at : at + 4] = struct.pack(">I", 0xEFFFFFFF)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refused(bytes(data)) == "truncated"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF"])
def test_the_limit_of_pixels_is_read_from_every_header(kind):
    """An image of 3072 pixels passes a limit of 3072 and is refused by one of 3071."""
    data = encoded(picture(), kind)
    assert decode_image(data, max_pixels=WIDTH * HEIGHT).shape == (HEIGHT, WIDTH, 3)
    assert refused(data, max_pixels=WIDTH * HEIGHT - 1) == "too-large"


def test_a_webp_with_alpha_has_its_size_read_too():
    """The extended form of WebP has its size in another place."""
    data = encoded(picture("RGBA"), "WEBP", lossless=True, exif=EXIF)
    assert data[12:16] == b"VP8X"
    assert decode_image(data).shape == (HEIGHT, WIDTH, 3)
    assert refused(data, max_pixels=WIDTH * HEIGHT - 1) == "too-large"


def test_the_identity_of_an_image_is_the_sha256_of_its_bytes():
    """The digests of no bytes and of "abc" are the published ones."""
    assert sha256_of(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha256_of(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
