"""What the head of a model file says of it: its format, number type and tensors. The weights are never read.

safetensors: the length of a JSON object, 8 bytes, little endian, then the object
(https://github.com/huggingface/safetensors#format). GGUF: services/gguf.py.
"""

import math
import os
import stat
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from services import gguf, safetensors
from services.errors import SuiteError

# What the format allows a header at most.
HEADER_MAX_BYTES = 100_000_000
# A longer one is left unread: parsing it would stop everything else in the process for a good part of a second. That
# of a model with 5,000 tensors has 2 MB.
READ_MAX_BYTES = 16 * 1024 * 1024
GGUF_READ_BYTES = 4 * 1024 * 1024
# Enough to tell a web page by.
START_BYTES = 64

_FORMATS = {
    **dict.fromkeys((".safetensors", ".sft"), "safetensors"),
    ".gguf": "gguf",
    **dict.fromkeys((".ckpt", ".pt", ".pth", ".bin", ".pkl"), "pickle"),
    ".pt2": "pt2",
    ".yaml": "yaml",
}

_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I8", "U8", "BOOL"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Shape = tuple[int, ...]


class Header(Struct, frozen=True):
    """`dtype`: that of most bytes. `parameters`: the elements of all tensors; None where nobody counted them.

    `shapes`: of the tensors, by name. `problem`: why the file cannot be loaded.
    """

    format: str
    dtype: str | None = None
    parameters: int | None = None
    metadata: Mapping[str, str] = {}
    shapes: Mapping[str, Shape] = {}
    problem: str | None = None


class _Tensor(Struct, frozen=True, gc=False):
    # More dimensions than any program takes: their product must stay a number.
    shape: Annotated[tuple[Count, ...], Meta(max_length=32)]
    dtype: Annotated[str, Meta(max_length=32)]
    data_offsets: tuple[Count, Count]


class _Broken(SuiteError):
    type = "broken_model"


_header_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_metadata_decoder = msgspec.json.Decoder(dict[str, str])
_tensor_decoder = msgspec.json.Decoder(_Tensor)


def format_of(name: str) -> str:
    """By its suffix: what the file is meant to be."""
    return _FORMATS.get(Path(name).suffix.lower(), "unknown")


def read_header(path: Path) -> Header:
    """Blocking. What cannot be loaded says so in `problem`. Raises OSError when it cannot be read."""
    format_ = format_of(path.name)
    if format_ not in {"safetensors", "gguf"}:
        return Header(format_)
    # Not to wait for anyone to write, where someone put a pipe in its place.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        figures = os.fstat(file)
        if not stat.S_ISREG(figures.st_mode):
            return Header(format_, problem="it is no file")
        return _safetensors(file, figures.st_size) if format_ == "safetensors" else _gguf(file, figures.st_size)
    except _Broken as error:
        return Header(format_, problem=error.message)
    finally:
        os.close(file)


def _safetensors(file: int, size: int) -> Header:
    """Raises _Broken, OSError."""
    head = os.pread(file, 8, 0)
    length = int.from_bytes(head, "little")
    if len(head) < 8:
        raise _Broken(f"a file of {size} bytes is too short for a header")
    start = os.pread(file, START_BYTES, 0)
    if length > HEADER_MAX_BYTES or (8 + length > size and start[8:9] != b"{"):
        raise _Broken(safetensors.not_one(start))
    if 8 + length > size:
        raise _Broken(f"its header would have {length} bytes, and the file has {size}")
    if length > READ_MAX_BYTES:
        return Header("safetensors")
    try:
        fields = _header_decoder.decode(os.pread(file, length, 8))
        metadata = fields.pop("__metadata__", None)
        return _header(
            {name: _tensor_decoder.decode(field) for name, field in fields.items()},
            {} if metadata is None else _metadata_decoder.decode(metadata),
            size - 8 - length,
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _Broken(f"its header is not one of safetensors: {error}") from None


def _header(tensors: dict[str, _Tensor], metadata: dict[str, str], data_bytes: int) -> Header:
    """Raises _Broken."""
    sizes: Counter[str] = Counter()
    parameters: int | None = 0
    for name, tensor in tensors.items():
        begin, end = tensor.data_offsets
        bits, elements = _BITS.get(tensor.dtype), math.prod(tensor.shape)
        if not begin <= end <= data_bytes:
            raise _Broken(f"tensor '{name[:100]}' would end at {end} of {data_bytes} bytes: the file is cut short")
        if bits is not None and (elements * bits + 7) // 8 != end - begin:
            raise _Broken(f"tensor '{name[:100]}' has {end - begin} bytes, which is not what its shape needs")
        sizes[tensor.dtype] += end - begin
        parameters = None if bits is None or parameters is None else parameters + elements
    return Header(
        format="safetensors",
        dtype=max(sizes, key=lambda dtype: sizes[dtype], default=None),
        parameters=parameters if tensors else None,
        metadata=metadata,
        shapes={name: tensor.shape for name, tensor in tensors.items()},
    )


def _gguf(file: int, size: int) -> Header:
    """Raises _Broken, OSError."""
    try:
        found = gguf.parse(os.pread(file, GGUF_READ_BYTES, 0))
    except ValueError as error:
        raise _Broken(str(error)) from None
    if found.is_cut_short and size <= GGUF_READ_BYTES:
        raise _Broken("the file ends within its header")
    elements: Counter[str] = Counter()
    for tensor in found.tensors.values():
        elements[tensor.dtype] += math.prod(tensor.shape)
    return Header(
        format="gguf",
        dtype=max(elements, key=lambda dtype: elements[dtype], default=None),
        # Beyond any file: a header that lies.
        parameters=total if 0 < (total := elements.total()) < 8 * size else None,
        metadata={"general.architecture": found.architecture} if found.architecture else {},
        shapes={name: tensor.shape for name, tensor in found.tensors.items()},
    )
