"""What is read out of files put together by hand and by Pillow; tests/e2e/test_embedded.py has the real ComfyUI's."""

import io
import json
import struct
import tempfile
import tracemalloc
import zlib
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from services import embedded
from services.embedded.png import PNG_HEAD
from services.embedded.texts import MAX_TEXT_BYTES
from tests.fakes import carriers
from tests.fakes.carriers import CARRIERS

TEXTS = {"workflow": '{"nodes": [{"id": 1}], "name": "Größe 東京"}', "prompt": '{"1": {"a": "b"}}', "extra": "[1]"}
# As Python's JSON is written unless it is told otherwise.
ASCII = {key: json.dumps(json.loads(text)) for key, text in TEXTS.items()}


def texts_of(data: bytes) -> dict[str, str]:
    found = embedded.read(io.BytesIO(data))
    assert found is not None
    return dict(found.texts)


def problem_of(data: bytes) -> str:
    found = embedded.read(io.BytesIO(data))
    assert found is not None
    assert found.problem is not None
    return found.problem


def picture(kind: str, **options: Any) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, kind, **options)
    return data.getvalue()


@pytest.mark.parametrize("kind", CARRIERS)
def test_each_kind_of_file_gives_its_texts(kind: str) -> None:
    found = texts_of(CARRIERS[kind](ASCII))
    assert {key: json.loads(found[key]) for key in ("workflow", "prompt")} == {
        key: json.loads(ASCII[key]) for key in ("workflow", "prompt")
    }


@pytest.mark.parametrize("data", [b"", b"{}", b"\0" * 100, b"PK\3\4", b"GIF9", "Größe".encode(), b"RIFF\0\0\0\0WAVE"])
def test_what_is_no_kind_of_file_that_carries_texts_is_nothing(data: bytes) -> None:
    assert embedded.read(io.BytesIO(data)) is None


def test_the_first_text_of_a_key_stays() -> None:
    chunks = [carriers.png_chunk(b"tEXt", b"note\0first"), carriers.png_chunk(b"tEXt", b"note\0second")]
    assert texts_of(carriers.png_file(*chunks)) == {"note": "first"}


# PNG


def test_pillow_writes_what_is_read() -> None:
    information = PngImagePlugin.PngInfo()
    information.add_text("plain", "a" * 10_000)
    information.add_text("packed", "b" * 10_000, zip=True)
    information.add_itxt("international", "東京", "ja", "x")
    information.add_itxt("both", "京都" * 1000, zip=True)
    found = texts_of(picture("PNG", pnginfo=information))
    expected = {"plain": "a" * 10_000, "packed": "b" * 10_000, "international": "東京", "both": "京都" * 1000}
    assert found == expected


def test_a_png_has_exif_too() -> None:
    exif = Image.Exif()
    exif[0x010F] = "workflow:{}"
    assert texts_of(picture("PNG", exif=exif)) == {"workflow": "{}"}


def test_latin_letters_of_old_are_read() -> None:
    assert texts_of(carriers.png_file(carriers.png_chunk(b"tEXt", b"note\0Gr\xf6\xdfe"))) == {"note": "Größe"}


def test_a_text_that_would_fill_the_memory_is_refused() -> None:
    bomb = zlib.compress(bytes(2 * MAX_TEXT_BYTES), 9)
    file = carriers.png_file(carriers.png_chunk(b"zTXt", b"workflow\0\0" + bomb))
    tracemalloc.start()
    try:
        assert "larger than" in problem_of(file)
        assert tracemalloc.get_traced_memory()[1] < 3 * MAX_TEXT_BYTES
    finally:
        tracemalloc.stop()


def test_many_texts_that_would_fill_the_memory_are_refused() -> None:
    packed = zlib.compress(bytes(MAX_TEXT_BYTES // 4), 9)
    chunks = [carriers.png_chunk(b"zTXt", f"key {number}\0\0".encode() + packed) for number in range(100)]
    tracemalloc.start()
    try:
        assert "larger than 0 bytes" in problem_of(carriers.png_file(*chunks))
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_TEXT_BYTES
    finally:
        tracemalloc.stop()


def test_a_text_that_cannot_be_unpacked_leaves_those_before_it() -> None:
    chunks = [carriers.png_chunk(b"tEXt", b"prompt\0{}"), carriers.png_chunk(b"zTXt", b"workflow\0\0nonsense")]
    found = embedded.read(io.BytesIO(carriers.png_file(*chunks)))
    assert found is not None
    assert found.texts == {"prompt": "{}"}
    assert "unpacked" in (found.problem or "")


def test_endless_empty_chunks_come_to_an_end() -> None:
    assert "more parts" in problem_of(carriers.png_file(carriers.png_chunk(b"eMPT", b"") * 300_000))


@pytest.mark.parametrize("length", [2**31, 2**32 - 1])
def test_a_chunk_longer_than_the_file_is_a_problem(length: int) -> None:
    assert "are said to follow" in problem_of(PNG_HEAD + struct.pack(">I", length) + b"tEXt" + bytes(100))


# WebP, JPEG, AVIF: EXIF


@pytest.mark.parametrize("kind", ["WEBP", "JPEG", "AVIF"])
def test_pillow_writes_exif_that_is_read(kind: str) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x010E] = "workflow:" + ASCII["workflow"], "prompt:" + ASCII["prompt"], 'x:{"a":1}'
    found = texts_of(picture(kind, exif=exif))
    assert found == {"workflow": ASCII["workflow"], "prompt": ASCII["prompt"], "x": '{"a":1}'}


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_orders_of_bytes_are_read(order: str) -> None:
    assert texts_of(carriers.webp(carriers.exif({0x010F: b"workflow:{}\0"}, order))) == {"workflow": "{}"}


@pytest.mark.parametrize(
    ("order", "comment"),
    [
        ("<", b'ASCII\0\0\0{"a": 1}'),
        ("<", b'{"a": 1}'),
        ("<", bytes(8) + b'{"a": 1}'),
        ("<", b"UNICODE\0" + '{"a": 1}'.encode("utf-16-le")),
        (">", b"UNICODE\0" + '{"a": 1}'.encode("utf-16-be")),
        # As Windows' and A1111's programs have it.
        (">", b"UNICODE\0" + '{"a": 1}'.encode("utf-16-le")),
        ("<", b"UNICODE\0" + '{"a": 1}'.encode("utf-16-be")),
    ],
)
def test_a_users_comment_is_read_however_it_is_written(order: str, comment: bytes) -> None:
    exif = carriers.exif({0x0131: b"Camera\0"}, order, inner={0x9286: comment})
    assert texts_of(carriers.jpeg((0xE1, b"Exif\0\0" + exif))) == {"comment": '{"a": 1}'}


def test_a_jpegs_comment_is_read() -> None:
    assert texts_of(carriers.jpeg((0xFE, b'{"a": 1}'))) == {"comment": '{"a": 1}'}


def test_exif_that_points_outside_of_itself_is_passed_over() -> None:
    data = bytearray(carriers.exif({0x010F: b"workflow:{}\0", 0x0110: b"prompt:{}\0"}))
    data[18:22] = struct.pack("<I", 2**32 - 20)
    assert texts_of(carriers.webp(bytes(data))) == {"prompt": "{}"}


def test_tags_that_each_say_they_are_all_of_the_file_are_not_all_believed() -> None:
    size, count = 4_000_000, 1000
    tags = b"".join(struct.pack("<HHII", 0x010E, 2, size, 8) for _ in range(count))
    data = b"II*\0" + struct.pack("<IH", 8, count) + tags + b"x" * size
    tracemalloc.start()
    try:
        assert set(texts_of(carriers.webp(data))) == {"description"}
        assert tracemalloc.get_traced_memory()[1] < 10 * size
    finally:
        tracemalloc.stop()


def test_tags_that_lead_to_the_same_tags_again_and_again_come_to_an_end() -> None:
    count = 1000
    outer = struct.pack("<HHII", 0x8769, 4, 1, 8 + 2 + 12 * count) * count
    inner = struct.pack("<H", count) + struct.pack("<HHII", 0x010E, 2, 0, 0) * count
    assert "more tags" in problem_of(carriers.webp(b"II*\0" + struct.pack("<IH", 8, count) + outer + inner))


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\x01"])
def test_endless_filling_comes_to_an_end(filling: bytes) -> None:
    assert "more parts" in problem_of(b"\xff\xd8" + filling * 1_100_000)


# MP4


def test_a_comment_as_ffmpeg_and_quicktime_write_it_is_read() -> None:
    assert texts_of(carriers.mp4(carriers.itunes_comment('{"a": 1}'))) == {"comment": '{"a": 1}'}
    classic = carriers.box(b"udta", carriers.box(b"\xa9cmt", struct.pack(">HH", 8, 0x55C4) + b'{"a": 1}'))
    assert texts_of(carriers.mp4(classic)) == {"comment": '{"a": 1}'}


def test_metadata_without_a_version_is_read() -> None:
    meta = carriers.mdta(TEXTS)
    # QuickTime's `meta` has no version; its size is four less, and so is that of `udta`.
    shorter = struct.pack(">I", len(meta) - 4) + b"udta" + struct.pack(">I", len(meta) - 12) + b"meta" + meta[20:]
    assert texts_of(carriers.mp4(shorter)) == TEXTS


def test_four_gigabytes_of_pictures_are_skipped() -> None:
    head = carriers.box(b"ftyp", b"isom\0\0\2\0isom") + struct.pack(">I4sQ", 1, b"mdat", 4 * 1024**3 + 16)
    tail = carriers.box(b"moov", carriers.mdta(TEXTS))
    assert texts_of_sparse(head, 4 * 1024**3, tail) == TEXTS


def test_boxes_within_boxes_come_to_an_end() -> None:
    data = b""
    for _ in range(3000):
        data = carriers.box(b"moov", data)
    assert texts_of(carriers.box(b"ftyp", b"isom") + data) == {}


def test_items_of_a_million_pieces_of_nothing_come_to_an_end() -> None:
    infe = carriers.box(b"infe", b"\2\0\0\0" + struct.pack(">HH", 1, 0) + b"Exif")
    iinf = carriers.box(b"iinf", bytes(4) + struct.pack(">H", 1) + infe)
    items = struct.pack(">HHH", 2, 0, 1000) * 1000
    iloc = carriers.box(b"iloc", bytes(6) + struct.pack(">H", 1000) + items + bytes(2))
    meta = carriers.box(b"meta", bytes(4) + carriers.box(b"hdlr", b"") + iinf + iloc)
    assert "more parts" in problem_of(carriers.box(b"ftyp", b"avif") + meta * 100)


def test_a_box_smaller_than_its_head_is_a_problem() -> None:
    assert "smaller" in problem_of(carriers.box(b"ftyp", b"isom") + struct.pack(">I", 4) + b"moov" + bytes(20))


# WebM, sounds


def test_matroskas_texts_behind_gigabytes_are_found() -> None:
    whole = carriers.webm(TEXTS)
    tags = whole[whole.index(b"\x12\x54\xc3\x67") : whole.index(b"\x1f\x43\xb6\x75")]
    head = carriers.ebml(0x1A45DFA3, b"") + carriers.ebml(0x18538067, b"", sized=False)
    cluster = b"\x1f\x43\xb6\x75" + (1 << 56 | 3 * 1024**3).to_bytes(8, "big")
    assert texts_of_sparse(head + cluster, 3 * 1024**3, tags) == TEXTS


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8"])
def test_id3_is_read_in_every_alphabet(version: int, encoding: str) -> None:
    assert texts_of(carriers.id3(TEXTS, encoding, version)) == TEXTS


def test_a_comment_over_several_pages_is_put_together() -> None:
    texts = {"workflow": "x" * 300_000, "prompt": "{}"}
    assert texts_of(carriers.opus(texts)) == texts
    vorbis = carriers.ogg([b"\x01vorbis" + bytes(23), b"\x03vorbis" + carriers.vorbis_comment(texts), bytes(9)])
    assert texts_of(vorbis) == texts


def test_streams_that_take_turns_are_told_apart() -> None:
    one = [b"OpusHead" + bytes(11), b"OpusTags" + carriers.vorbis_comment({"prompt": "{}"})]
    other = [b"\x80theora" + bytes(30), b"\x81theora" + carriers.vorbis_comment({"workflow": "[]"})]
    pages = [
        carriers.ogg([packet], serial) for pair in zip(one, other, strict=True) for serial, packet in enumerate(pair)
    ]
    assert texts_of(b"".join(pages)) == {"prompt": "{}", "workflow": "[]"}


def test_comments_that_say_they_are_longer_than_the_file_are_a_problem() -> None:
    block = struct.pack("<I", 2**32 - 1)
    file = b"fLaC" + struct.pack(">I", 0x84 << 24 | len(block)) + block
    assert "too early" in problem_of(file)


def texts_of_sparse(head: bytes, gap: int, tail: bytes) -> dict[str, str]:
    """Of a file with nothing between, which takes no room."""
    with tempfile.TemporaryFile() as file:
        file.write(head)
        file.seek(len(head) + gap)
        file.write(tail)
        found = embedded.read(file)
    assert found is not None
    return dict(found.texts)
