import os
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.model_headers import HEADER_MAX_BYTES, READ_MAX_BYTES, Header, read_header


def tensor(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def write(path: Path, fields: Any, data: int = 0, length: int | None = None) -> Path:
    """A safetensors file with `data` bytes of weights, none on the disk. `length`: what it says of its header."""
    header = fields if isinstance(fields, bytes) else msgspec.json.encode(fields)
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header)
    os.truncate(path, 8 + len(header) + data)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.safetensors"


def problem(path: Path) -> str:
    header = read_header(path)
    assert header.problem is not None
    assert (header.format, header.parameters, header.shapes) == ("safetensors", None, {})
    return header.problem


def test_tensors_are_counted_and_metadata_is_read(path: Path) -> None:
    fields = {
        "__metadata__": {"modelspec.architecture": "flux-1-dev"},
        "a": tensor("BF16", [10, 20], 0, 400),
        "b": tensor("F32", [], 400, 404),
    }
    assert read_header(write(path, fields, 404)) == Header(
        format="safetensors",
        dtype="BF16",
        parameters=201,
        metadata={"modelspec.architecture": "flux-1-dev"},
        shapes={"a": (10, 20), "b": ()},
    )


def test_the_number_type_is_that_of_most_bytes(path: Path) -> None:
    fields = {
        "scales": tensor("F32", [10], 0, 40),
        "weights": tensor("F8_E4M3", [41], 40, 81),
    }
    assert read_header(write(path, fields, 81)).dtype == "F8_E4M3"


def test_numbers_of_less_than_a_byte_are_counted(path: Path) -> None:
    assert read_header(write(path, {"a": tensor("F4", [3, 2], 0, 3)}, 3)).parameters == 6


def test_a_number_type_nobody_knows_leaves_the_count_open(path: Path) -> None:
    header = read_header(write(path, {"a": tensor("Q3_K", [100], 0, 7), "b": tensor("F32", [1], 7, 11)}, 11))
    assert (header.dtype, header.parameters, header.problem) == ("Q3_K", None, None)


def test_metadata_may_have_the_names_of_a_tensors_fields(path: Path) -> None:
    header = read_header(write(path, {"__metadata__": {"shape": "round", "dtype": "odd"}}))
    assert header.metadata == {"shape": "round", "dtype": "odd"}
    assert header.problem is None


def test_the_weights_are_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, {"a": tensor("F32", [2**28], 0, 2**30)}, 2**30)
    read: list[int] = []
    pread = os.pread

    def counted(file: int, size: int, at: int) -> bytes:
        read.append(size)
        return pread(file, size, at)

    monkeypatch.setattr(os, "pread", counted)
    assert read_header(path).parameters == 2**28
    assert sum(read) < 1000


def test_a_header_of_thousands_of_tensors_is_read(path: Path) -> None:
    fields = {
        f"model.diffusion_model.double_blocks.{n}.img_attn.qkv.weight": tensor("BF16", [3072, 9216], 0, 3072 * 9216 * 2)
        for n in range(5000)
    }
    assert read_header(write(path, fields, 3072 * 9216 * 2)).parameters == 5000 * 3072 * 9216


def test_an_empty_file_is_too_short(path: Path) -> None:
    path.write_bytes(b"")
    assert "too short" in problem(path)


def test_a_header_that_is_longer_than_the_file_is_none(path: Path) -> None:
    assert "and the file has" in problem(write(path, {}, length=1000))


def test_a_header_beyond_the_formats_limit_is_not_read(path: Path) -> None:
    assert problem(write(path, b"{", 2 * HEADER_MAX_BYTES, length=2**63)) == "it is no safetensors file"


@pytest.mark.parametrize(
    ("page", "shown"), [(b"<!DOCTYPE html><p>Log in", "<!doctype"), (b"\n<html lang=en>Log in", "<html>")]
)
def test_a_page_is_told_by_how_it_begins(page: bytes, shown: str, path: Path) -> None:
    path.write_bytes(page)
    assert problem(path) == f"it is a web page that begins with {shown}"


def test_a_link_to_a_secret_tells_none_of_its_letters(tmp_path: Path, path: Path) -> None:
    secret = tmp_path / "huggingface.token"
    secret.write_bytes(b"hf_canary_of_a_token")
    path.symlink_to(secret)
    assert str(int.from_bytes(b"hf_canar", "little")) not in problem(path)


def test_a_long_header_that_may_be_right_is_left_alone(path: Path) -> None:
    assert read_header(write(path, b"{", READ_MAX_BYTES + 1, length=READ_MAX_BYTES + 1)) == Header("safetensors")


@pytest.mark.parametrize(
    "header",
    [
        b"no JSON",
        b"[]",
        b"\xff\xfe{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"__metadata__": {"a": 1}}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1.5], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}',
        b'{"a": {"dtype": "F32", "shape": [1]}}',
        b'{"a": {"dtype": 7, "shape": [1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [%s], "data_offsets": [0, 4]}}' % (b"9" * 400),
        b'{"a": {"dtype": "F32", "shape": [%s], "data_offsets": [0, 4]}}' % b",".join([b"2"] * 10_000),
    ],
)
def test_what_is_no_header_is_a_fact_and_no_error(header: bytes, path: Path) -> None:
    assert "not one of safetensors" in problem(write(path, header, 4))


@pytest.mark.parametrize("offsets", [(0, 5), (3, 2), (2**40, 2**40 + 4)])
def test_weights_beyond_the_file_are_told(offsets: tuple[int, int], path: Path) -> None:
    assert "cut short" in problem(write(path, {"a": tensor("F32", [1], *offsets)}, 4))


def test_a_shape_that_does_not_fit_its_bytes_is_told(path: Path) -> None:
    assert "not what its shape needs" in problem(write(path, {"a": tensor("F32", [2], 0, 4)}, 4))


@pytest.mark.parametrize(
    ("name", "format_"),
    [("a.ckpt", "pickle"), ("a.PT", "pickle"), ("a.bin", "pickle"), ("v1.yaml", "yaml"), ("a.onnx", "unknown")],
)
def test_other_formats_are_told_by_their_names_and_not_opened(name: str, format_: str, tmp_path: Path) -> None:
    assert read_header(tmp_path / name) == Header(format_)


def test_a_pipe_in_a_models_place_keeps_nobody_waiting(path: Path) -> None:
    os.mkfifo(path)
    assert problem(path) == "it is no file"


def gguf(
    values: list[tuple[str, int, bytes]], tensors: list[tuple[str, tuple[int, ...], int]], version: int = 3
) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    data = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(values))
    for key, type_, value in values:
        data += text(key) + struct.pack("<I", type_) + value
    for name, shape, type_ in tensors:
        data += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", size) for size in shape)
        data += struct.pack("<IQ", type_, 0)
    return data


VALUES = [
    ("general.quantization_version", 4, struct.pack("<I", 2)),
    ("names", 9, struct.pack("<IQ", 8, 2) + struct.pack("<Q", 1) + b"a" + struct.pack("<Q", 2) + b"bc"),
    ("numbers", 9, struct.pack("<IQ", 6, 3) + bytes(12)),
    ("general.architecture", 8, struct.pack("<Q", 4) + b"flux"),
]


def test_a_ggufs_architecture_and_tensors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf(VALUES, [("img_in.weight", (64, 3072), 1), ("b", (3072, 3072), 12)]) + bytes(3072 * 3072))
    header = read_header(path)
    assert (header.format, header.dtype, header.problem) == ("gguf", "Q4_K", None)
    assert header.parameters == 64 * 3072 + 3072 * 3072
    assert header.shapes["img_in.weight"] == (3072, 64)
    assert header.metadata == {"general.architecture": "flux"}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GGML" + bytes(100), "does not begin with 'GGUF'"),
        (b"", "does not begin with 'GGUF'"),
        (gguf([], [], version=1), "version 1 of GGUF"),
        (gguf(VALUES, [("a", (1,), 0)])[:-1], "ends within its header"),
        (gguf([("a", 8, struct.pack("<Q", 2**63))], []), "ends within its header"),
        (gguf([("a", 9, struct.pack("<IQ", 9, 1))], []), "unknown type 9"),
        (gguf([("a", 99, b"")], []), "unknown type 99"),
        (gguf([], [("a", (1,) * 9, 0)]), "9 dimensions"),
    ],
)
def test_a_broken_gguf_says_why(data: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(data)
    assert why in str(read_header(tmp_path / "a.gguf").problem)


def test_a_gguf_that_claims_more_than_it_can_hold_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(gguf([], [("a", (2**60, 2**60), 0)]))
    assert read_header(tmp_path / "a.gguf").parameters is None
