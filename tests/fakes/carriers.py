"""Small files that carry texts, put together by hand as the formats say; none has a picture or a sound that plays."""

import json
import struct
import zlib
from collections.abc import Mapping

from services.embedded.png import PNG_HEAD

Texts = Mapping[str, str]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_file(*chunks: bytes) -> bytes:
    """`chunks` come before the picture."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    picture = png_chunk(b"IDAT", zlib.compress(bytes(4)))
    return PNG_HEAD + head + b"".join(chunks) + picture + png_chunk(b"IEND", b"")


def png_texts(texts: Texts) -> bytes:
    return png_file(*(png_chunk(b"tEXt", f"{key}\0{text}".encode()) for key, text in texts.items()))


def apng_texts(texts: Texts) -> bytes:
    """ComfyUI's: behind the picture."""
    chunks = b"".join(png_chunk(b"comf", f"{key}\0{text}".encode("latin-1")) for key, text in texts.items())
    file, end = png_file(), png_chunk(b"IEND", b"")
    return file.removesuffix(end) + chunks + end


def exif(values: Mapping[int, bytes], order: str = "<", inner: Mapping[int, bytes] | None = None) -> bytes:
    """A TIFF with ASCII values by tag, and undefined ones in its EXIF directory."""
    places = len(values) + bool(inner)
    data_at = 8 + 2 + 12 * places + 4
    entries, data = b"", b""
    for tag, value in sorted(values.items()):
        entries += struct.pack(f"{order}HHII", tag, 2, len(value), data_at + len(data))
        data += value
    if inner:
        entries += struct.pack(f"{order}HHII", 0x8769, 4, 1, data_at + len(data))
        inner_at = data_at + len(data) + 2 + 12 * len(inner) + 4
        directory, inner_data = struct.pack(f"{order}H", len(inner)), b""
        for tag, value in sorted(inner.items()):
            directory += struct.pack(f"{order}HHII", tag, 7, len(value), inner_at + len(inner_data))
            inner_data += value
        data += directory + bytes(4) + inner_data
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return head + struct.pack(f"{order}H", places) + entries + bytes(4) + data


def comfyui_exif(texts: Texts) -> bytes:
    """`prompt` as the model, the others as the make and the tags before it."""
    others = [key for key in texts if key != "prompt"]
    tags = {0x010F - number: f"{key}:{texts[key]}".encode() + b"\0" for number, key in enumerate(others)}
    if "prompt" in texts:
        tags[0x0110] = f"prompt:{texts['prompt']}".encode() + b"\0"
    return exif(tags)


def riff_chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def webp(exif_data: bytes) -> bytes:
    chunks = riff_chunk(b"VP8X", bytes(10)) + riff_chunk(b"VP8 ", bytes(31)) + riff_chunk(b"EXIF", exif_data)
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def jpeg(*segments: tuple[int, bytes]) -> bytes:
    head = b"".join(struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data for marker, data in segments)
    return b"\xff\xd8" + head + struct.pack(">BBH", 0xFF, 0xDA, 2) + b"\x12\x34\xff\xd9"


def box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data) + 8) + kind + data


def mp4(moov: bytes, media: bytes = bytes(100)) -> bytes:
    """With the pictures first."""
    return box(b"ftyp", b"isom\0\0\2\0isom") + box(b"mdat", media) + box(b"moov", box(b"mvhd", bytes(100)) + moov)


def mdta(texts: Texts) -> bytes:
    """`udta` as FFmpeg writes it with `use_metadata_tags`."""
    keys = b"".join(box(b"mdta", key.encode()) for key in texts)
    entries = b"".join(
        box(struct.pack(">I", number), box(b"data", struct.pack(">II", 1, 0) + text.encode()))
        for number, text in enumerate(texts.values(), start=1)
    )
    handler = box(b"hdlr", bytes(8) + b"mdta" + bytes(13))
    listed = box(b"keys", struct.pack(">II", 0, len(texts)) + keys) + box(b"ilst", entries)
    return box(b"udta", box(b"meta", bytes(4) + handler + listed))


def itunes_comment(text: str) -> bytes:
    """`udta` as FFmpeg writes it for the comment alone."""
    entry = box(b"\xa9cmt", box(b"data", struct.pack(">II", 1, 0) + text.encode()))
    return box(b"udta", box(b"meta", bytes(4) + box(b"hdlr", bytes(8) + b"mdir" + bytes(13)) + box(b"ilst", entry)))


def avif(exif_data: bytes) -> bytes:
    """One item, which is the EXIF."""
    item = struct.pack(">I", 0) + exif_data
    head = box(b"ftyp", b"avif\0\0\0\0avifmif1")

    def meta(offset: int) -> bytes:
        entry = box(b"infe", struct.pack(">IHH4s", 2 << 24, 1, 0, b"Exif") + b"\0")
        infos = box(b"iinf", struct.pack(">IH", 0, 1) + entry)
        places = struct.pack(">IBBHHHHII", 0, 0x44, 0, 1, 1, 0, 1, offset, len(item))
        return box(b"meta", bytes(4) + box(b"hdlr", bytes(8) + b"pict" + bytes(13)) + infos + box(b"iloc", places))

    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", item)


def ebml(id_: int, data: bytes, *, sized: bool = True) -> bytes:
    name = id_.to_bytes((id_.bit_length() + 7) // 8, "big")
    return name + ((1 << 56 | len(data)).to_bytes(8, "big") if sized else b"\x01" + b"\xff" * 7) + data


def webm(texts: Texts, *, streamed: bool = False) -> bytes:
    """`streamed`: without sizes, and with the texts behind the pictures."""
    simple = (ebml(0x67C8, ebml(0x45A3, key.encode()) + ebml(0x4487, text.encode())) for key, text in texts.items())
    tags = ebml(0x1254C367, ebml(0x7373, b"".join(simple)))
    cluster = ebml(0x1F43B675, ebml(0xE7, b"\0") + ebml(0xA3, bytes(50)), sized=not streamed)
    parts = cluster + tags if streamed else tags + cluster
    return ebml(0x1A45DFA3, ebml(0x4282, b"webm")) + ebml(0x18538067, parts, sized=not streamed)


def vorbis_comment(texts: Texts) -> bytes:
    comments = [f"{key}={text}".encode() for key, text in texts.items()]
    packed = b"".join(struct.pack("<I", len(comment)) + comment for comment in comments)
    return struct.pack("<I", 4) + b"fake" + struct.pack("<I", len(comments)) + packed


def flac(texts: Texts) -> bytes:
    block = vorbis_comment(texts)
    info = struct.pack(">I", 34) + bytes(34)
    return b"fLaC" + info + struct.pack(">I", 0x84 << 24 | len(block)) + block + b"\xff\xf8" + bytes(50)


def ogg(packets: list[bytes], serial: int = 7) -> bytes:
    """Each packet begins a page; a long one goes on in further ones."""
    pages = b""
    for packet in packets:
        lengths = [255] * (len(packet) // 255) + [len(packet) % 255]
        for start in range(0, len(lengths), 255):
            part = lengths[start : start + 255]
            data = packet[start * 255 : start * 255 + sum(part)]
            pages += b"OggS" + bytes(10) + struct.pack("<III", serial, 0, 0) + bytes([len(part), *part]) + data
    return pages


def opus(texts: Texts) -> bytes:
    return ogg([b"OpusHead" + bytes(11), b"OpusTags" + vorbis_comment(texts), bytes(300), bytes(300)])


def id3(texts: Texts, encoding: str = "utf-8", version: int = 4) -> bytes:
    number = {"latin-1": 0, "utf-16": 1, "utf-16-be": 2, "utf-8": 3}[encoding]
    frames = b""
    for key, text in texts.items():
        zero = "\0".encode("utf-16-be") if "16" in encoding else b"\0"
        data = bytes([number]) + key.encode(encoding) + zero + text.encode(encoding)
        frames += b"TXXX" + (_safe(len(data)) if version == 4 else struct.pack(">I", len(data))) + bytes(2) + data
    return b"ID3" + bytes([version, 0, 0]) + _safe(len(frames)) + frames + b"\xff\xfb\x90\x00" + bytes(100)


def _safe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def safetensors(texts: Texts) -> bytes:
    head = json.dumps({"__metadata__": dict(texts), "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})
    return struct.pack("<Q", len(head)) + head.encode() + bytes(4)


def glb(texts: Texts) -> bytes:
    head = json.dumps({"asset": {"version": "2.0", "extras": dict(texts)}}).encode()
    return b"glTF" + struct.pack("<III", 2, 28 + len(head), len(head)) + b"JSON" + head + bytes(8)


def svg(texts: Texts) -> bytes:
    inner = json.dumps({key: json.loads(text) for key, text in texts.items()}, indent=2)
    return f'<svg width="1">\n  <metadata>\n<![CDATA[\n{inner}\n]]>\n</metadata><path d="M0 0"/></svg>'.encode()


CARRIERS = {
    "PNG": png_texts,
    "APNG": apng_texts,
    "WebP": lambda texts: webp(comfyui_exif(texts)),
    "WebP with a head": lambda texts: webp(b"Exif\0\0" + comfyui_exif(texts)),
    "JPEG": lambda texts: jpeg((0xE0, b"JFIF\0"), (0xE1, b"Exif\0\0" + comfyui_exif(texts))),
    "AVIF": lambda texts: avif(comfyui_exif(texts)),
    "MP4": lambda texts: mp4(mdta(texts)),
    "WebM": webm,
    "WebM that was streamed": lambda texts: webm(texts, streamed=True),
    "FLAC": flac,
    "Opus": opus,
    "MP3": id3,
    "safetensors": safetensors,
    "GLB": glb,
    "SVG": svg,
}
