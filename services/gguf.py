"""The head of a GGUF file: its architecture and tensors
(https://github.com/ggml-org/ggml/blob/master/docs/gguf.md)."""

import struct
from collections.abc import Mapping
from typing import NamedTuple

from msgspec import Struct

MAGIC = b"GGUF"
# Those of the format's numbers that have one length, and the other two.
_LENGTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
# ggml's own limit of dimensions.
_DIMENSIONS_MAX = 4

_TYPES = {
    **{0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1"},
    **{10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS"},
    **{18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16"},
    **{26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0"},
}


class Tensor(NamedTuple):
    """`shape` as the other formats write it: the last dimension is the one that lies together."""

    dtype: str
    shape: tuple[int, ...]


class Gguf(Struct, frozen=True):
    """`is_cut_short`: the bytes ended within the header, and `tensors` is empty."""

    architecture: str | None
    tensors: Mapping[str, Tensor]
    is_cut_short: bool = False


class _End(Exception):
    """The bytes end here."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, format_: str) -> int:
        size = struct.calcsize(format_)
        self.skip(size)
        value: int = struct.unpack_from(format_, self._data, self._at - size)[0]
        return value

    def text(self) -> str:
        length = self.number("<Q")
        self.skip(length)
        return self._data[self._at - length : self._at].decode("utf-8", "replace")

    def skip(self, length: int) -> None:
        if self._at + length > len(self._data):
            raise _End
        self._at += length

    def skip_value(self, type_: int) -> None:
        """Raises ValueError."""
        if type_ == _STRING:
            self.skip(self.number("<Q"))
        elif type_ == _ARRAY:
            of, count = self.number("<I"), self.number("<Q")
            if of in _LENGTHS:
                self.skip(count * _LENGTHS[of])
            elif of == _STRING:
                for _ in range(count):
                    self.skip(self.number("<Q"))
            else:
                raise ValueError(f"its header holds an array of the unknown type {of}")
        elif type_ in _LENGTHS:
            self.skip(_LENGTHS[type_])
        else:
            raise ValueError(f"its header holds a value of the unknown type {type_}")


def parse(head: bytes) -> Gguf:
    """From the first bytes of a file. Raises ValueError when they are no GGUF's."""
    if not head.startswith(MAGIC):
        raise ValueError("it does not begin with 'GGUF'")
    reader, architecture = _Reader(head), None
    try:
        reader.skip(len(MAGIC))
        if (version := reader.number("<I")) not in {2, 3}:
            raise ValueError(f"version {version} of GGUF is not known")
        tensor_count, value_count = reader.number("<Q"), reader.number("<Q")
        for _ in range(value_count):
            key, type_ = reader.text(), reader.number("<I")
            if key == "general.architecture" and type_ == _STRING:
                architecture = reader.text()
            else:
                reader.skip_value(type_)
        return Gguf(architecture, dict(_tensor(reader) for _ in range(tensor_count)))
    except _End:
        return Gguf(architecture, {}, is_cut_short=True)


def _tensor(reader: _Reader) -> tuple[str, Tensor]:
    """Raises ValueError."""
    name, dimensions = reader.text(), reader.number("<I")
    if dimensions > _DIMENSIONS_MAX:
        raise ValueError(f"tensor '{name[:100]}' has {dimensions} dimensions")
    shape = tuple(reader.number("<Q") for _ in range(dimensions))
    type_ = reader.number("<I")
    reader.skip(8)
    return name, Tensor(_TYPES.get(type_, f"type {type_}"), shape[::-1])
