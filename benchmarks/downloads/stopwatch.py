"""How a Python client says when its work began: an interpreter's start is not the download's, whoever's it is.

Loaded by the rivals' interpreter too, so it needs nothing but the standard library.
"""

import json
import os
import resource
import sys
import time
from typing import Any, NoReturn

BEGAN = "began"
CPU = "cpu_seconds"


def begin() -> None:
    """To be called when everything is imported. The clock is the machine's, the same in every process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _say({BEGAN: time.monotonic(), CPU: [usage.ru_utime, usage.ru_stime]})


def end(**more: Any) -> NoReturn:
    """At once, as RQ's job processes end, so that nothing but the download is measured."""
    _say(more)
    os._exit(0)


def _say(words: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()
