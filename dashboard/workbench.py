"""Work that may keep the processor for seconds, on what came from anywhere: piece after piece, in a thread of its own.

Elsewhere it would keep the threads that others wait for, and a dozen at once would slow down every page.
"""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from services.errors import Unavailable

# Threads take turns in Python: a second one would not make it quicker, and pages slower.
THREADS = 1
MAX_WAITING = 40

P = ParamSpec("P")
T = TypeVar("T")


class WorkbenchFull(Unavailable):
    type = "busy"


class Workbench:
    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "workbench")
        self._under_way = 0

    async def run(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Raises WorkbenchFull, and what `work` raises."""
        if self._under_way >= THREADS + MAX_WAITING:
            raise WorkbenchFull(f"{self._under_way} workflows are being read already: try again in a moment")
        self._under_way += 1
        try:
            begun = functools.partial(work, *arguments, **named)
            return await asyncio.get_running_loop().run_in_executor(self._threads, begun)
        finally:
            self._under_way -= 1

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
