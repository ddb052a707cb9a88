from datetime import datetime

import pytest

from services.bandwidth import Bandwidth
from services.settings import load


def bandwidth(limit: str, hours: str = "") -> Bandwidth:
    return Bandwidth.from_settings(
        load({"DOWNLOAD_MAX_BYTES_PER_SECOND": limit, "DOWNLOAD_LIMIT_HOURS": hours}),
    )


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-01-05T{text}")


def test_without_a_limit_everything_goes_as_fast_as_it_can() -> None:
    assert bandwidth("0", "08:00-23:30").share(at("12:00"), 3) is None


def test_running_downloads_share_the_limit_evenly() -> None:
    assert bandwidth("9000").share(at("12:00"), 3) == 3000.0


def test_a_download_nobody_counted_yet_may_have_all() -> None:
    assert bandwidth("9000").share(at("12:00"), 0) == 9000.0


@pytest.mark.parametrize(
    ("hours", "time", "holds"),
    [
        ("08:00-23:30", "07:59:59", False),
        ("08:00-23:30", "08:00", True),
        ("08:00-23:30", "23:29:59", True),
        ("08:00-23:30", "23:30", False),
        ("22:00-06:00", "21:59", False),
        ("22:00-06:00", "22:00", True),
        ("22:00-06:00", "00:00", True),
        ("22:00-06:00", "05:59", True),
        ("22:00-06:00", "06:00", False),
        ("22:00-00:00", "23:59", True),
        ("22:00-00:00", "00:00", False),
    ],
)
def test_the_limit_holds_within_its_hours(hours: str, time: str, holds: bool) -> None:
    assert bandwidth("10", hours).share(at(time), 1) == (10.0 if holds else None)
