"""Whether a file can be what its name says it is: a page or half a file under a model's name is told by its start."""

import os
import struct

# A longer header is no model (safetensors' own limit).
_HEADER_MAX_BYTES = 100_000_000
# How a web page begins, and how that is told.
_PAGES = {b"<!doctype": "<!doctype", b"<html": "<html>"}


def looks_like_a_model(name: str, descriptor: int, length: int) -> bool:
    """Whether a safetensors file starts with its header's length and brace; other kinds are let through."""
    if name.rpartition(".")[2].lower() not in {"safetensors", "sft"}:
        return True
    start = os.pread(descriptor, 9, 0)
    if len(start) < 9:
        return False
    (header_bytes,) = struct.unpack("<Q", start[:8])
    return 0 < header_bytes < min(_HEADER_MAX_BYTES, length) and start[8:] == b"{"


def not_one(start: bytes) -> str:
    """What to say of a file that is no safetensors file and begins with `start`: of a page how it begins, of all else
    nothing. A link may lead to a secret."""
    text = start.lstrip().lower()
    page = next((shown for begin, shown in _PAGES.items() if text.startswith(begin)), None)
    return f"it is a web page that begins with {page}" if page else "it is no safetensors file"
