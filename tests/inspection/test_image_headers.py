"""What is read from an image's header before anything is decoded, against headers written by hand."""

import struct

import cv2
import numpy as np
import pytest

from inspection.image import ImageError, decode_image, image_format

JPEG_START = b"\xff\xd8"


def segment(marker, body):
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def jpeg_frame(width, height, marker=0xC0):
    return segment(marker, struct.pack(">BHHB", 8, height, width, 3) + bytes(9))


def riff(kind, body):
    chunk = kind + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def webp_extended(width, height, flags=0):
    return riff(
        b"VP8X", bytes((flags, 0, 0, 0)) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    )


def webp_lossless(width, height):
    return riff(b"VP8L", b"\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(4, "little") + bytes(8))


def webp_lossy(width, height):
    # The two upper bits of each side are a scale for the display, which is not part of the size.
    return riff(b"VP8 ", b"\x00\x00\x00\x9d\x01\x2a" + struct.pack("<HH", width | 0xC000, height | 0x4000) + bytes(8))


def tiff(entries, order="<", count=None):
    """entries: (tag, type, value); type 3 is a short, 4 a long."""
    head = (b"II*\x00" if order == "<" else b"MM\x00*") + struct.pack(order + "I", 12) + bytes(4)
    directory = struct.pack(order + "H", len(entries) if count is None else count)
    for tag, kind, value in entries:
        packed = struct.pack(order + ("H" if kind == 3 else "I"), value).ljust(4, b"\x00")
        directory += struct.pack(order + "HHI", tag, kind, 1) + packed
    return head + directory + bytes(4)


def png(width, height, *chunks):
    body = struct.pack(">II", width, height) + b"\x08\x02\x00\x00\x00"
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + bytes(4) for kind, data in ((b"IHDR", body), *chunks)
    )


def bmp(width, height, length=None):
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    data = struct.pack("<IHHI", 0, 0, 0, 54) + info
    return b"BM" + struct.pack("<I", len(data) + 2 if length is None else length) + data[4:]


SIZES = [(40_000, 3), (3, 40_000), (0x3FFF, 7), (7, 0x3FFF)]


def refusal(data, **options):
    with pytest.raises(ImageError) as caught:
        decode_image(data, **options)
    return caught.value.reason, str(caught.value)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize(
    "header",
    [
        lambda w, h: JPEG_START + jpeg_frame(w, h),
        png,
        bmp,
        lambda w, h: bmp(w, -h),
        webp_extended,
        lambda w, h: tiff([(256, 3, w), (257, 3, h)]),
        lambda w, h: tiff([(254, 4, 0), (256, 4, w), (257, 4, h), (258, 3, 8)]),
        lambda w, h: tiff([(256, 3, w), (257, 3, h)], ">"),
        lambda w, h: tiff([(256, 4, w), (257, 3, h), (259, 3, 1)], ">"),
    ],
)
def test_the_message_says_the_width_and_the_height_of_the_header(header, width, height):
    """Each format keeps its sides elsewhere, in another order or with another sign."""
    assert refusal(header(width, height), max_pixels=10) == (
        "too-large",
        f"expected at most 10 pixels, got {width} x {height}",
    )


@pytest.mark.parametrize("header", [webp_lossless, webp_lossy])
@pytest.mark.parametrize(("width", "height"), [(0x3FFF, 7), (7, 0x3FFF), (0x2AAA, 0x1555), (5000, 4097)])
def test_a_webp_keeps_its_sides_in_fourteen_bits(header, width, height):
    """What else is in the same bytes (a scale, flags) changes nothing."""
    assert refusal(header(width, height), max_pixels=10)[1] == f"expected at most 10 pixels, got {width} x {height}"


@pytest.mark.parametrize("header", [png, bmp, webp_extended, lambda w, h: tiff([(256, 3, w), (257, 3, h)])])
def test_the_limit_counts_width_times_height(header):
    """300 x 7 are 2,100 pixels: allowed by a limit of 2,100, refused by one of 2,099."""
    assert refusal(header(300, 7), max_pixels=2099)[0] == "too-large"
    assert refusal(header(300, 7), max_pixels=2100)[0] != "too-large"


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC9, 0xCD, 0xCF])
def test_every_frame_header_of_a_jpeg_carries_the_size(marker):
    """The size is read from each frame header, SOF0 to SOF15 of ITU-T T.81, B.1.1.3."""
    data = JPEG_START + jpeg_frame(300, 200, marker)
    assert refusal(data, max_pixels=10)[1] == "expected at most 10 pixels, got 300 x 200"


@pytest.mark.parametrize("marker", [0xC4, 0xC8, 0xCC, 0xDB, 0xDD, 0xE0, 0xE1, 0xFE])
def test_other_segments_before_the_frame_header_are_passed_over(marker):
    """A Huffman table, a comment or a thumbnail may look like a frame header; the size is that of the frame."""
    other = segment(marker, struct.pack(">BHHB", 8, 11, 22, 3) + bytes(200))
    data = JPEG_START + other + other + jpeg_frame(300, 200)
    assert refusal(data, max_pixels=10)[1] == "expected at most 10 pixels, got 300 x 200"


def test_a_segment_of_a_jpeg_may_be_as_long_as_its_length_can_say():
    """A JPEG segment of 65,533 bytes is read, because its length has no sign."""
    data = JPEG_START + segment(0xE1, bytes(65_533)) + jpeg_frame(300, 200)
    assert refusal(data, max_pixels=10)[1] == "expected at most 10 pixels, got 300 x 200"


@pytest.mark.parametrize("between", [b"\xff", b"\xff\xff\xff", b"\xff\x01", b"\xff\xd0", b"\xff\xd7", b"\xff\xd8"])
def test_fill_bytes_and_markers_without_a_body_are_passed_over(between):
    """Any number of 0xFF may precede a marker; TEM, RST0 to RST7 and SOI have no length (ITU-T T.81, B.1.1)."""
    data = JPEG_START + segment(0xE0, bytes(5)) + between + segment(0xE0, bytes(5)) + between + jpeg_frame(300, 200)
    assert refusal(data, max_pixels=10)[1] == "expected at most 10 pixels, got 300 x 200"


@pytest.mark.parametrize("end", [b"\xff\xd9", segment(0xD9, bytes(10)), segment(0xDA, bytes(10))])
def test_a_jpeg_whose_picture_begins_without_a_frame_header_is_truncated(end):
    """A scan or the end mark comes first, so what follows is no header any more."""
    data = JPEG_START + end + jpeg_frame(300, 200)
    assert refusal(data, max_pixels=10) == ("truncated", f"the jpeg has no frame header in its {len(data)} bytes")


def test_a_jpeg_that_ends_right_after_a_marker_is_truncated():
    """A marker and a length need four bytes; two or three are left."""
    for rest in (b"\xff\xe0", b"\xff\xe0\x00"):
        data = JPEG_START + segment(0xE0, bytes(5)) + rest
        assert refusal(data) == ("truncated", f"the jpeg has no frame header in its {len(data)} bytes")
    data = JPEG_START + jpeg_frame(300, 200)[:4]
    assert refusal(data) == ("truncated", f"the jpeg ends inside its header ({len(data)} bytes)")


def test_a_jpeg_without_a_marker_where_one_must_be_says_the_byte():
    """The first segment is nine bytes long, so byte 11 should begin the next marker."""
    data = JPEG_START + segment(0xE0, bytes(5)) + b"\x00\x00\x00\x00\x00"
    assert refusal(data) == ("unreadable", "the jpeg has no marker at byte 11")


def test_the_end_mark_of_a_jpeg_counts_after_the_frame_header_alone():
    """An end mark before the frame header is that of a thumbnail."""
    thumbnail = segment(0xE1, b"\xff\xd9")
    frame = jpeg_frame(16, 16)
    whole = JPEG_START + thumbnail + frame
    assert refusal(whole) == ("truncated", f"the jpeg ends before its end mark ({len(whole)} bytes)")
    assert refusal(whole + b"\xff\xd9")[0] == "unreadable"


def test_both_byte_orders_of_a_tiff_are_known():
    """`II` is the lower byte first, `MM` the higher."""
    assert image_format(tiff([])) == "tiff"
    assert image_format(tiff([], ">")) == "tiff"


def test_numbers_of_a_tiff_have_no_sign():
    """A side of 2^32 - 1 is large, not negative; a directory at such a place lies behind the end, not before it."""
    assert refusal(tiff([(256, 4, 0xFFFFFFFF), (257, 4, 3)]), max_pixels=10)[1] == (
        "expected at most 10 pixels, got 4294967295 x 3"
    )
    whole = tiff([(256, 3, 300), (257, 3, 200)])
    data = whole[:4] + struct.pack("<i", 12 - len(whole)) + whole[8:]
    assert refusal(data, max_pixels=10) == ("truncated", f"the tiff ends inside its header ({len(data)} bytes)")


@pytest.mark.parametrize("entries", [[], [(256, 3, 300)], [(257, 3, 300)], [(256, 3, 300), (256, 3, 300)]])
def test_a_tiff_without_both_sides_is_left_to_the_decoder(entries):
    """A TIFF header without width or height gives no size to compare with the limit. The decoder refuses the file."""
    assert refusal(tiff(entries), max_pixels=10)[0] == "unreadable"


def test_a_tiff_whose_directory_lies_behind_its_end_is_truncated():
    """More entries are announced than there are bytes, or the directory itself is missing."""
    for data in (tiff([(256, 3, 300)], count=0xFFFF), tiff([])[:12], b"II*\x00\xff\xff\xff\xff"):
        assert refusal(data) == ("truncated", f"the tiff ends inside its header ({len(data)} bytes)")


@pytest.mark.parametrize(
    ("kind", "data"), [("png", png(3, 3)[:20]), ("bmp", bmp(3, 3)[:20]), ("webp", riff(b"VP8X", b""))]
)
def test_a_header_that_ends_too_early_says_its_format_and_length(kind, data):
    """A disk was full, or an upload broke off."""
    assert refusal(data) == ("truncated", f"the {kind} ends inside its header ({len(data)} bytes)")


def test_a_webp_of_the_extended_form_needs_all_of_its_header():
    """The last byte of the height is byte 29."""
    data = webp_extended(300, 200)
    assert len(data) == 30
    assert refusal(data[:29])[1] == "the webp ends inside its header (29 bytes)"
    assert refusal(data, max_pixels=10)[1] == "expected at most 10 pixels, got 300 x 200"


def test_an_animation_is_told_by_its_own_flag():
    """Of the flags of an extended WebP, bit 1 means an animation; bit 0 is reserved and bit 4 means alpha."""
    assert refusal(webp_extended(30, 20, flags=0x02)) == ("animated", "expected one picture, got an animated webp")
    assert refusal(webp_extended(30, 20, flags=0x01))[0] == "unreadable"
    assert refusal(webp_extended(30, 20, flags=0x10))[0] == "unreadable"


def test_what_follows_the_last_chunk_of_a_png_is_not_looked_at():
    """An animation's chunk behind the end is no part of the picture."""
    body = png(3, 3, (b"IDAT", b""), (b"IEND", b""), (b"acTL", bytes(8)))
    assert refusal(body)[0] == "unreadable"
    assert refusal(png(3, 3, (b"acTL", bytes(8)), (b"IEND", b"")))[0] == "animated"


@pytest.mark.parametrize("kind", ["bmp", "webp"])
def test_a_file_that_is_shorter_than_it_says_is_truncated(kind):
    """BMP says the whole length, WebP that of what follows its first eight bytes."""
    if kind == "bmp":
        data, longer = bmp(3, 3), bmp(3, 3, length=len(bmp(3, 3)) + 1)
        enormous = bmp(3, 3, length=0xFFFFFFFF)
    else:
        data = webp_lossless(3, 3)
        longer = data[:4] + struct.pack("<I", len(data) - 8 + 1) + data[8:]
        enormous = data[:4] + b"\xff\xff\xff\xff" + data[8:]
    assert refusal(data)[0] == "unreadable"
    for short in (longer, enormous):
        assert refusal(short) == ("truncated", f"the {kind} ends before its end mark ({len(data)} bytes)")


def test_other_formats_have_no_length_to_be_shorter_than():
    """The fifth to eighth byte of a TIFF are a place, not a length."""
    data = b"II*\x00" + struct.pack("<I", 8) + struct.pack("<H", 0)
    assert refusal(data)[0] == "unreadable"


def test_no_bytes_and_foreign_bytes_are_said_in_words():
    """The first eight bytes help to find out what it was."""
    assert refusal(b"") == ("empty", "expected an image, got 0 bytes")
    assert refusal(b"%PDF-1.7 and more") == (
        "not-an-image",
        "expected JPEG, PNG, BMP, WebP or TIFF, got bytes that begin with 255044462d312e37",
    )


def small_bmp():
    return cv2.imencode(".bmp", np.zeros((2, 3, 3), np.uint8))[1].tobytes()


def test_a_decoder_that_fails_makes_the_image_unreadable(monkeypatch):
    """OpenCV says it by None or by an error of its own."""
    data = small_bmp()

    def fails(*_):
        raise cv2.error("no codec")

    monkeypatch.setattr(cv2, "imdecode", fails)
    assert refusal(data) == ("unreadable", "the bmp could not be decoded: no codec")
    monkeypatch.setattr(cv2, "imdecode", lambda *_: None)
    assert refusal(data) == ("unreadable", f"the bmp could not be decoded ({len(data)} bytes)")


def test_a_picture_that_is_larger_than_its_header_said_is_refused(monkeypatch):
    """The limit holds for what the decoder gives, too."""
    monkeypatch.setattr(cv2, "imdecode", lambda *_: np.zeros((4, 5, 3), np.uint8))
    assert refusal(small_bmp(), max_pixels=19) == ("too-large", "expected at most 19 pixels, got 5 x 4")
    assert decode_image(small_bmp(), max_pixels=20).shape == (4, 5, 3)


def test_a_tiff_that_names_its_size_twice_is_refused_before_it_is_decoded():
    """Three kilobytes of such a file took 1.5 GB: the small size was checked, and room was made for the large one."""
    for twice in ([(256, 4, 16000), (256, 4, 10), (257, 4, 10)], [(256, 4, 10), (257, 4, 16000), (257, 4, 10)]):
        with pytest.raises(ImageError, match="is there twice") as caught:
            decode_image(tiff(twice))
        assert caught.value.reason == "unreadable"


def test_the_tiles_of_a_tiff_count_like_its_picture():
    """A tile is decoded as a whole, however small the picture in it is."""
    with pytest.raises(ImageError, match="at most 100000000 pixels") as caught:
        decode_image(tiff([(256, 4, 10), (257, 4, 10), (322, 4, 20_000), (323, 4, 20_000)]))
    assert caught.value.reason == "too-large"
