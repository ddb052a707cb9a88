"""Runs the parts and writes the page."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import boot, memory, page, requests, sockets, watchers

PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "boot": boot.measure,
    "memory": memory.measure,
    "requests": requests.measure,
    "sockets": sockets.measure,
    "watchers": watchers.measure,
}
RESULTS = Path(".build/benchmarks.json")


def main(names: list[str]) -> int:
    unknown = set(names) - set(PARTS)
    if unknown:
        print(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in names or PARTS:
        print(f"== {name}", flush=True)
        results[name] = {**PARTS[name](), "measured_at": time.time()}
        print(json.dumps(results[name], indent=1), flush=True)
        RESULTS.write_text(json.dumps(results, indent=1))
    page.write(results, Path("docs/benchmarks.md"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
