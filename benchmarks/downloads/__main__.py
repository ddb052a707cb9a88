"""Runs the parts and prints what they found; all of them together write their section of the page."""

import argparse
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import page
from benchmarks.downloads import large, metered, per_file, section, unthrottled
from benchmarks.downloads.runs import Plan

PARTS: dict[str, Callable[[Plan], dict[str, Any]]] = {
    "metered": metered.measure,
    "unthrottled": unthrottled.measure,
    "per_file": per_file.measure,
    "large": large.measure,
}
ROUNDS = 5
MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux has a tmpfs
LONGEST_SECONDS = 15 * 60


def main() -> int:
    options = _options()
    signal.signal(signal.SIGALRM, _too_long)
    # So that no host, suite or file is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    signal.alarm(LONGEST_SECONDS)
    results = {}
    for name in options.parts or PARTS:
        print(f"== {name}", flush=True)
        results[name] = PARTS[name](Plan(options.rounds, options.memory))
        print(json.dumps(results[name], indent=1), flush=True)
    if results.keys() == PARTS.keys():
        found = section.text(results, page.machine())
        print(found)
        if options.rounds >= ROUNDS:
            page.put_section(section.TITLE, found)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-downloads ARGS=...", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], metavar="PART", help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="fewer than %(default)s do not change the page")
    parser.add_argument(
        "--memory",
        type=Path,
        default=MEMORY,
        help="a tmpfs to download onto where no limit is set (default: %(default)s)",
    )
    return parser.parse_args()


def _too_long(number: int, frame: Any) -> None:
    raise TimeoutError(f"the whole took longer than {LONGEST_SECONDS} s")


if __name__ == "__main__":
    sys.exit(main())
