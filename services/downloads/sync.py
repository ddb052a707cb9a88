"""Makes certain what was written to a part, in a thread of its own: a slow volume takes seconds for it."""

import threading

from services.downloads.part import Part
from services.journal import Span


class Sync:
    """`spans`: what is certain."""

    def __init__(self, part: Part, spans: tuple[Span, ...] = ()) -> None:
        self.spans = spans
        self._part = part
        self._thread: threading.Thread | None = None
        self._failure: OSError | None = None

    @property
    def is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, written: tuple[Span, ...]) -> None:
        """`written` will be certain when it is done. Raises OSError when the last one failed."""
        self._check()
        self._thread = threading.Thread(target=self._run, args=(written,), name="sync", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Waits for the one that runs. Raises OSError when it failed."""
        if self._thread is not None:
            self._thread.join()
        self._check()

    def _run(self, written: tuple[Span, ...]) -> None:
        try:
            self._part.sync()
        except OSError as error:
            self._failure = error
        else:
            self.spans = written

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
