import io
from typing import Any

import pytest
from PIL import Image

from services.picture_size import picture_size


def file_of(kind: str, **options: Any) -> bytes:
    made = io.BytesIO()
    Image.effect_noise((123, 45), 50).convert("RGB").save(made, kind, **options)
    return made.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP"])
def test_the_size_stands_in_the_first_bytes(kind: str) -> None:
    assert picture_size(io.BytesIO(file_of(kind))) == (123, 45)


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}])
def test_each_kind_of_webp_has_its_own_place_for_it(options: dict[str, Any]) -> None:
    assert picture_size(io.BytesIO(file_of("WEBP", **options))) == (123, 45)


def test_a_jpeg_may_have_much_before_it() -> None:
    assert picture_size(io.BytesIO(file_of("JPEG", exif=b"Exif\0\0" + bytes(60_000), progressive=True))) == (123, 45)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_a_file_that_ends_too_early_has_none(kind: str) -> None:
    for length in range(10):
        assert picture_size(io.BytesIO(file_of(kind)[:length])) is None


def test_what_is_no_picture_has_none() -> None:
    for content in (b"", b"<svg/>", b"RIFF0000WEBPVP9 " + bytes(40), b"\xff\xd8" + bytes(100)):
        assert picture_size(io.BytesIO(content)) is None
