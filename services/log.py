"""Structured logs: one JSON object a line, to the console and to a file on the volume.

The file is written by a thread of its own behind a bounded queue: a volume that hangs costs log lines (they are
counted), never a request. Rotation is the reconciler's: the file is opened anew each time.
"""

import contextlib
import json
import logging
import logging.handlers
import queue
import re
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.lean_imports import without_rich

with without_rich():
    import structlog
    from structlog.types import EventDict, Processor

QUEUE_LINES = 10_000
# How long a program that ends waits for the volume to take its last lines.
LAST_WORDS_SECONDS = 1.0

# Values end at a backslash: lines are redacted as JSON, where it begins an escape.
_PARAMETER = re.compile(r"([?&#][^=&?#\s\"'\\]{1,100}=)[^&#\s\"'\\]+")
_SECRET_PARAMETER = re.compile(r"(?i)token|key=|secret|passw|signature|sig=|credential|policy|expires|x-amz-|x-goog-")
_USER_IN_URL = re.compile(r"(://)[^/?#\s\"'\\]+@")
_BEARER = re.compile(r"(?i)(bearer\s+)[a-z0-9._~+/=-]+")
# Hugging Face's, wherever it stands: nothing else looks like it. Civitai's looks like any digest.
_HUB_TOKEN = re.compile(r"\b(hf_)[A-Za-z0-9]{30,}")


def configure(program: str, file: Path, level: str = "info", own_files: Mapping[str, Path] | None = None) -> None:
    """Sends this process's logs, its libraries' included, to stderr and to `file`.

    `own_files`: loggers, by name, that have a file of their own instead.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _named(program),
            structlog.processors.JSONRenderer(),
            # Last of all, so that nothing gets around it: nested values, exceptions, libraries.
            _redacted,
        ],
    )
    console = logging.StreamHandler(sys.stderr)
    console.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[console, _PatientFileHandler(file, formatter)], force=True)
    for name, own_file in (own_files or {}).items():
        logger = logging.getLogger(name)
        logger.handlers = [console, _PatientFileHandler(own_file, formatter)]
        logger.propagate = False
    logging.captureWarnings(True)
    for noisy in ("httpx", "httpcore", "websockets", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def get(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def redact(text: str) -> str:
    """`text` without tokens, signed queries and the users of addresses."""
    text = _USER_IN_URL.sub(r"\1***@", _PARAMETER.sub(_hide_if_secret, text))
    return _HUB_TOKEN.sub(r"\1***", _BEARER.sub(r"\1***", text))


def _hide_if_secret(parameter: re.Match[str]) -> str:
    return f"{parameter[1]}***" if _SECRET_PARAMETER.search(parameter[1]) else parameter[0]


def _redacted(_logger: Any, _method: str, line: Any) -> str:
    return redact(line)


def _named(program: str) -> Processor:
    def add(_logger: Any, _method: str, event: EventDict) -> EventDict:
        return {"time": event.pop("timestamp", None), "level": event.pop("level", None), "program": program, **event}

    return add


class _PatientFileHandler(logging.handlers.QueueHandler):
    """Hands lines to a thread that writes them; drops and counts what does not fit into the queue."""

    def __init__(self, file: Path, formatter: logging.Formatter) -> None:
        self._file = file
        self._lines: queue.Queue[str] = queue.Queue(QUEUE_LINES)
        self._writer: threading.Thread | None = None
        self._dropped = 0
        super().__init__(self._lines)
        self.setFormatter(formatter)

    def prepare(self, record: logging.LogRecord) -> str:
        return self.format(record)

    def enqueue(self, record: Any) -> None:
        if self._writer is None or not self._writer.is_alive():
            self._begin()
        try:
            if self._dropped:
                self._lines.put_nowait(json.dumps({"event": "log_lines_dropped", "count": self._dropped}))
                self._dropped = 0
            self._lines.put_nowait(record)
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Called when the program ends; its last lines often say why."""
        if self._writer is not None and self._writer.is_alive():
            with self._lines.all_tasks_done:
                self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, LAST_WORDS_SECONDS)
        super().close()

    def _begin(self) -> None:
        """At the first line, and at the first of a forked process such as RQ's: a fork takes no threads along, and
        copies the queue as it happens to be, locked or half written."""
        self.queue = self._lines = queue.Queue(QUEUE_LINES)
        self._writer = threading.Thread(target=_write_for_ever, args=(self._file, self._lines), daemon=True)
        self._writer.start()


def _write_for_ever(file: Path, lines: "queue.Queue[str]") -> None:
    """Appends what comes. A volume that refuses is not worth a crash: the console has the lines as well, and the
    dashboard shows the volume's state."""
    while True:
        batch = [lines.get()]
        while not lines.empty():
            batch.append(lines.get())
        with contextlib.suppress(OSError), file.open("ab") as opened:
            opened.write("".join(f"{line}\n" for line in batch).encode())
        for _ in batch:
            lines.task_done()
