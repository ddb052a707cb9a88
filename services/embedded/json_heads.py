"""Files with JSON at their beginning: latents and models (safetensors), 3D models (GLB), and drawings (SVG)."""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from services.embedded.texts import MAX_TEXT_BYTES, Broken, Part, Texts

GLB_HEAD = b"glTF"


class _Safetensors(Struct):
    metadata: dict[str, str] = msgspec.field(default_factory=dict, name="__metadata__")


class _Asset(Struct):
    extras: Any = None


class _Glb(Struct):
    asset: _Asset = msgspec.field(default_factory=_Asset)


def is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= MAX_TEXT_BYTES


def is_svg(head: bytes) -> bool:
    return head.lstrip().startswith((b"<svg", b"<?xml"))


def read_safetensors(file: Part, texts: Texts) -> None:
    """ComfyUI writes latents so, and the checkpoints it saves. Raises Broken."""
    for key, value in _decoded(file.read(file.number(8, "little")), _Safetensors).metadata.items():
        texts.add(key, value)


def read_glb(file: Part, texts: Texts) -> None:
    """Raises Broken."""
    file.skip(12)
    size, kind = file.number(4, "little"), file.read(4)
    extras = _decoded(file.read(size), _Glb).asset.extras if kind == b"JSON" else None
    for key, value in extras.items() if isinstance(extras, dict) else ():
        texts.add(key, value if isinstance(value, str) else msgspec.json.encode(value))


def read_svg(file: Part, texts: Texts) -> None:
    """ComfyUI's SaveSVG writes one object with both into the first `<metadata>`. Raises Broken."""
    data = file.rest()
    _, _, rest = data.partition(b"<metadata>")
    inner, is_closed, _ = rest.partition(b"</metadata>")
    _, is_there, text = inner.partition(b"<![CDATA[")
    if not is_closed or not is_there:
        return
    text = text.rpartition(b"]]>")[0]
    try:
        for key, value in msgspec.json.decode(text, type=dict[str, Raw]).items():
            texts.add(key, bytes(value))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        texts.add("metadata", text.strip())


def _decoded(data: bytes, type_: type[Any]) -> Any:
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Broken(f"its head is not what it should be: {error}") from None
