"""Packages that load `rich` wherever it is installed, kept from it: only the command line draws with it, and every
other process would hold its 5 MB."""

import contextlib
import sys
from collections.abc import Iterator

# The second is what rich colours code with; httpx asks for it first.
_DRAWING = ("rich", "pygments")


@contextlib.contextmanager
def without_rich() -> Iterator[None]:
    """What is imported within finds no `rich`, unless somebody has it already."""
    hidden = [name for name in _DRAWING if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
