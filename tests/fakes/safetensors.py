"""Small files that are what they say they are."""

import json
import random
import struct

# Room for the header, which spaces fill up.
_HEADER_BYTES = 504


def make(size_bytes: int, seed: str = "", metadata: dict[str, str] | None = None) -> bytes:
    """A safetensors file of exactly `size_bytes`, 513 at least, with one tensor of random bytes, by `seed`."""
    length = size_bytes - 8 - _HEADER_BYTES
    tensor = {"dtype": "U8", "shape": [length], "data_offsets": [0, length]}
    header = json.dumps({"__metadata__": metadata or {}, "weight": tensor}).encode().ljust(_HEADER_BYTES)
    assert length > 0, "there is no room for a tensor"
    assert len(header) == _HEADER_BYTES, "the header is too long"
    return struct.pack("<Q", _HEADER_BYTES) + header + random.Random(seed).randbytes(length)
