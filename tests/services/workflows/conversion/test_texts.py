from datetime import datetime

import pytest

from services.workflows.conversion.texts import chosen, filled


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("a {b|c} d", "a b d"),
        ("{a|{b|c}}", "a"),
        ("{{b|c}|a}", "b"),
        ("{x}", "x"),
        ("{a|b", "a"),
        ("a|b}", "a|b}"),
        (r"\{a\|b\}", "{a|b}"),
        (r"{a\|b|c}", "a|b"),
        ("a // b\nc", "a \nc"),
        ("a /* b\n */ c", "a  c"),
        ("a /* b", "a /* b"),
        ("https://x.org", "https:"),
        ("{}", ""),
        ("", ""),
    ],
)
def test_choices_and_comments_of_a_prompt(text: str, sent: str) -> None:
    assert chosen(text, lambda _count: 0) == sent


def test_each_block_is_chosen_from_on_its_own() -> None:
    numbers = iter((1, 0, 2))
    assert chosen("{a|b} {c|d} {e|f|g}", lambda _count: next(numbers)) == "b c g"


@pytest.mark.parametrize(
    ("form", "sent"),
    [
        ("%date:yyyy-MM-dd%", "2026-02-03"),
        ("%date:yy M d h m s%", "26 2 3 4 5 6"),
        ("%date:hhmmss%", "040506"),
        ("%width%x%height%", "%width%x%height%"),
        ("100%", "100%"),
    ],
)
def test_dates_in_file_names(form: str, sent: str) -> None:
    assert filled(form, lambda _name: None, datetime(2026, 2, 3, 4, 5, 6)) == sent
