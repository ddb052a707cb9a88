"""Runs the parts and prints what they found; all of them together write the page, so that it is of one run
(but for the section of `make bench-downloads`)."""

import json
import sys
from collections.abc import Callable
from typing import Any

from benchmarks import boot, library, memory, outputs, page, requests, sockets, watchers
from benchmarks.downloads import section

PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "boot": boot.measure,
    "library": library.measure,
    "memory": memory.measure,
    "outputs": outputs.measure,
    "requests": requests.measure,
    "sockets": sockets.measure,
    "watchers": watchers.measure,
}


def main(names: list[str]) -> int:
    unknown = set(names) - set(PARTS)
    if unknown:
        print(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    results = {}
    for name in names or PARTS:
        print(f"== {name}", flush=True)
        results[name] = PARTS[name]()
        print(json.dumps(results[name], indent=1), flush=True)
    if not names:
        page.write(results, kept=(section.TITLE,))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
