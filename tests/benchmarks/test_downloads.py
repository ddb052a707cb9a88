"""The section that `make bench-downloads` writes, and what its figures are made of."""

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.downloads import files, runs, section
from benchmarks.downloads.clients import ARIA2C, CURL, OURS, UNHASHED
from benchmarks.downloads.per_file import parts_of
from benchmarks.downloads.runs import Run


def run(mib_per_second: float, cpu_seconds: float = 1.0) -> Run:
    """Of 100 MiB."""
    return Run(100 * files.MIB, 100 / mib_per_second, cpu_seconds / 2, cpu_seconds / 2, 0.5, {"digest": 0.25})


def results(*, ours: float = 400.0, added_ms: float = 20.0, pss: float = 40.0) -> dict[str, dict[str, Any]]:
    ran = {name: [run(300.0)] for name in (CURL, UNHASHED, ARIA2C)} | {OURS: [run(ours)]}
    clients, threads = runs.medians(ran, beside=ARIA2C), runs.threads(ran[OURS])
    disk = {"clients": clients, "file_system": "ext4"}
    parts = dict.fromkeys(
        ("until_the_first_seconds", "inside_ms_per_file", "between_ms_per_file", "after_the_last_seconds"), 1.0
    )
    row = {"mib_per_second": 400.0, "peak_pss_megabytes": pss, "cpu_seconds_per_gb": 1.0, "lines": 16}
    shared = {"clients": clients, "threads": threads, "file_system": "tmpfs", "rounds": 5}
    return {
        "metered": {**shared, "cap_mib_per_second": 400.0},
        "unthrottled": {**shared, "on_disk": disk},
        "per_file": {
            **{"count": 200, "size_bytes": 65536, "alone_seconds": 1.0, "queued_seconds": 5.0, "rounds": 5},
            **{"added_ms_per_file": added_ms, "parts": {**parts, "workers": 2}},
        },
        "large": {"rows": {"metered": row}, "size_bytes": 10**10, "wanted_bytes": 10**10},
    }


def test_the_section_says_which_goals_were_met() -> None:
    text = section.text(results(), "on 2026-01-01: 2 cores")
    assert text.startswith(section.TITLE)
    assert "on 2026-01-01: 2 cores" in text
    assert "missed" not in text


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (results(ours=340.0), "0.85 (goal ≥ 0.93: **missed**) of what 16 connections bring"),
        (results(ours=340.0), "1.13 (goal ≥ 1.15: **missed**) of aria2c"),
        (results(added_ms=26.0), "26.00 (goal ≤ 25: **missed**)"),
        (results(pss=81.0), "81.00 (goal ≤ 80: **missed**) MB"),
    ],
)
def test_the_section_says_which_goals_were_missed(found: dict[str, dict[str, Any]], said: str) -> None:
    assert said in section.text(found, "")


def test_a_smaller_file_than_wanted_is_owned_up_to() -> None:
    found = results()
    found["large"]["size_bytes"] = 10**9
    assert "There was no room for 10 GB." in section.text(found, "")


def test_a_ratio_is_of_runs_of_the_same_round() -> None:
    figures = runs.medians({"a": [run(100), run(200), run(900)], "b": [run(50), run(100), run(300)]}, beside="b")
    assert figures["a"]["ratio"] == pytest.approx(2.0)
    assert figures["a"]["ratio_of_medians"] == pytest.approx(2.0)
    assert figures["a"]["mib_per_second"] == pytest.approx(200)


def test_the_lines_have_the_cpu_seconds_that_no_other_thread_has() -> None:
    assert runs.threads([run(100, cpu_seconds=1.0)]) == {"digest": 0.25, "lines": 0.75}


def test_what_no_job_took_is_between_the_jobs() -> None:
    def line(event: str, id_: str, second: float) -> dict[str, str]:
        return {"event": f"download_{event}", "artifact_id": id_, "time": f"2026-01-01T00:00:{second:09.6f}Z"}

    lines = [line("started", "a", 1), line("finished", "a", 2), line("started", "b", 4), line("finished", "b", 5)]
    midnight = 1767225600.0
    assert parts_of(lines, midnight, midnight + 5.5) == pytest.approx(
        {
            "until_the_first_seconds": 1.0,
            "inside_ms_per_file": 1000.0,
            "between_ms_per_file": 1000.0,
            "after_the_last_seconds": 0.5,
            "workers": 1,
        }
    )


def test_no_two_pieces_of_a_served_file_are_the_same(tmp_path: Path) -> None:
    file = files.make(tmp_path / "file", 2 * files.MIB + 5)
    data = file.path.read_bytes()
    assert len(data) == file.size_bytes
    assert data[: files.MIB] != data[files.MIB : 2 * files.MIB]
    files.check(file.path, file)


def test_a_file_that_came_wrong_ends_the_benchmark(tmp_path: Path) -> None:
    file = files.make(tmp_path / "file", 100)
    (tmp_path / "other").write_bytes(bytes(100))
    with pytest.raises(RuntimeError, match="came with the sha256"):
        files.check(tmp_path / "other", file)


def test_a_client_that_fails_ends_the_benchmark() -> None:
    with pytest.raises(RuntimeError, match="ended with 3: no such file"):
        runs.measured(["sh", "-c", "echo no such file >&2; exit 3"], b"", {"PATH": "/usr/bin:/bin"}, 1)


def test_the_clock_starts_when_a_client_says_so() -> None:
    code = "import time; from benchmarks.downloads import stopwatch as s; time.sleep(3); s.begin(); s.end(threads={})"
    found = runs.measured([sys.executable, "-c", code], b"", {}, 1)
    assert found.seconds < 3
    assert found.cpu_seconds < 0.5
