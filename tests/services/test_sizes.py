import pytest

from services.sizes import bytes_text
from services.space import no_room


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(0, "0 B"), (67_000_000, "67 MB"), (6_940_000_000, "6.9 GB"), (900 * 10**12, "900 TB")]
)
def test_a_size_has_three_digits_at_most(size_bytes: int, text: str) -> None:
    assert bytes_text(size_bytes) == text


def test_what_does_not_fit_names_the_reserve_where_there_is_one() -> None:
    assert no_room("a:", 67_000_000, 0).message == "a: needs 67 MB, 0 B free for it on the volume"
    said = no_room("a:", 67_000_000, 0, reserve_bytes=900 * 10**12).message
    assert said.endswith("on the volume beside 900 TB in reserve (DISK_RESERVE_BYTES)")
