import math

import pytest

from services.workflows.conversion.numbers import as_number, rounded, sent


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.0, "1"),
        (0.1, "0.1"),
        (2**53, "9007199254740992"),
        (2**53 + 1, "9007199254740992"),
        (2**64 - 1, "18446744073709552000"),
        (1e21, "1e+21"),
        (math.nan, "None"),
        (math.inf, "None"),
        (10**400, "None"),
        (True, "True"),
        ([1.0, {"a": 2.0}], "[1, {'a': 2}]"),
    ],
)
def test_numbers_as_a_browser_writes_them(value: object, expected: str) -> None:
    assert repr(sent(value)) == expected


def test_halves_are_rounded_up() -> None:
    assert [rounded(value, 1) for value in (0.5, 1.5, -0.5, "7.4", None)] == [1, 2, 0, 7, 0]
    assert rounded(13, 8) == 16
    assert rounded(13, 8, 1) == 17


def test_what_is_no_number_is_none() -> None:
    assert math.isnan(as_number("x"))
    assert math.isnan(rounded([], 1))
