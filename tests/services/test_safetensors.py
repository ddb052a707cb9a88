import struct
from pathlib import Path

import pytest

from services.safetensors import looks_like_a_model
from tests.fakes import tiny_upscaler

HEADER = struct.pack("<Q", 2) + b"{}"


@pytest.mark.parametrize(
    ("name", "data", "looks"),
    [
        ("a.safetensors", tiny_upscaler.make(seed=1), True),
        ("a.SFT", HEADER, True),
        ("a.safetensors", b"<!doctype html>", False),
        ("a.safetensors", b"", False),
        ("a.safetensors", HEADER[:8], False),
        ("a.safetensors", struct.pack("<Q", 0) + b"{}", False),
        ("a.safetensors", struct.pack("<Q", 2**40) + b"{}", False),
        ("a.safetensors", struct.pack("<Q", 2) + b"[]", False),
        ("a.ckpt", b"<!doctype html>", True),
    ],
)
def test_a_safetensors_file_starts_like_one(tmp_path: Path, name: str, data: bytes, looks: bool) -> None:
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as file:
        assert looks_like_a_model(name, file.fileno(), len(data)) == looks
