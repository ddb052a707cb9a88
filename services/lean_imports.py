"""Packages that load `rich` wherever it is installed, kept from it: only the command line draws with it, and every
other process would hold its 5 MB."""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without_rich() -> Iterator[None]:
    """What is imported within finds no `rich`, unless somebody has it already."""
    if "rich" in sys.modules:
        yield
        return
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["rich"]
