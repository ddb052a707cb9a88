"""Structured logs: one JSON object a line, to the console and to a file on the volume.

The file is written by a thread of its own behind a bounded queue: a volume that hangs costs log lines (they are
counted), never a request. Rotation is the reconciler's: the handler reopens the file when it was renamed.
"""

import json
import logging
import logging.handlers
import queue
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from structlog.types import EventDict, Processor

QUEUE_LINES = 10_000

_SECRET_IN_URL = re.compile(r"(?i)([?&](?:token|api_key|key|signature|sig|x-amz-[a-z-]+|expires|policy)=)[^&\s\"']+")
_BEARER = re.compile(r"(?i)(bearer\s+)[a-z0-9._~+/=-]+")


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
        _redact,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _named(program),
            structlog.processors.JSONRenderer(),
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
    """`text` without tokens and signed queries."""
    return _BEARER.sub(r"\1***", _SECRET_IN_URL.sub(r"\1***", text))


def _redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = redact(value)
    return event


def _named(program: str) -> Processor:
    def add(_logger: Any, _method: str, event: EventDict) -> EventDict:
        return {"time": event.pop("timestamp", None), "level": event.pop("level", None), "program": program, **event}

    return add


class _PatientFileHandler(logging.handlers.QueueHandler):
    """Hands records to a thread that writes them; drops and counts what does not fit into the queue."""

    def __init__(self, file: Path, formatter: logging.Formatter) -> None:
        self._records: queue.Queue[Any] = queue.Queue(QUEUE_LINES)
        super().__init__(self._records)
        self.setFormatter(formatter)
        self._dropped = 0
        self._listener = logging.handlers.QueueListener(self._records, _VolumeFileHandler(file))
        self._listener.start()

    def prepare(self, record: logging.LogRecord) -> str:
        return self.format(record)

    def enqueue(self, record: Any) -> None:
        try:
            if self._dropped:
                self._records.put_nowait(json.dumps({"event": "log_lines_dropped", "count": self._dropped}))
                self._dropped = 0
            self._records.put_nowait(record)
        except queue.Full:
            self._dropped += 1


class _VolumeFileHandler(logging.handlers.WatchedFileHandler):
    """Writes lines that are formatted already; a volume that refuses is not worth a crash."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, encoding="utf-8", delay=True)

    def handle(self, record: Any) -> bool:
        try:
            self.reopenIfNeeded()
            if self.stream is None:
                self.stream = self._open()
            self.stream.write(record + self.terminator)
            self.flush()
        except OSError:
            # The console has the line; the dashboard shows the volume's state.
            return False
        return True
