"""The boot's diary: a line on the console, a line in the log, a step in the record the dashboard shows."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from bootstrap.deadline import TimedOut, run_within
from bootstrap.users import User, as_user
from services.boot import Boot, BootRecord, Step, StepState, log_line

WRITE_SECONDS = 3.0


class StepResult:
    """What a step says of itself; it starts out well."""

    def __init__(self) -> None:
        self.state: StepState = "ok"
        self.message = ""

    def set(self, state: StepState, message: str) -> None:
        self.state, self.message = state, message


class Journal:
    """Goes on from `boot`: bootstrap begins one, `bootstrap.ready` takes it up."""

    def __init__(self, state_dir: Path, boot: Boot) -> None:
        self._record = BootRecord(state_dir)
        self._local_log = state_dir / "logs" / "startup.log"
        self._boot = boot
        self._lines: list[bytes] = []
        self._volume_answers = True

    @contextlib.contextmanager
    def step(self, name: str, phase: str) -> Iterator[StepResult]:
        """Times the step; an OSError or ValueError in it is its result and goes no further."""
        result, started = StepResult(), time.monotonic()
        try:
            yield result
        except (OSError, ValueError) as error:
            result.set("failed", str(error))
        self.note(Step(name, result.state, round(time.monotonic() - started, 3), result.message), phase)

    def note(self, step: Step, phase: str) -> None:
        self._boot = Boot(self._boot.started_at, (*self._boot.steps, step))
        self._record.write(self._boot)
        self._lines.append(log_line(step, phase))
        mark = {"ok": "ok", "warning": "warning", "failed": "FAILED"}.get(step.state, step.state)
        print(f"{step.name:<24} {mark:<8} {step.seconds:6.2f} s  {step.message}".rstrip(), flush=True)

    def end(self, ready_seconds: float) -> None:
        """Everything works."""
        self._record.write(Boot(self._boot.started_at, self._boot.steps, ready_seconds))

    def save(self, volume_logs: Path | None, writer: User | None) -> None:
        """The lines so far: to the container's own disk, and to the volume if it is there to write to."""
        data = b"".join(self._lines)
        self._lines.clear()
        _append(self._local_log, data)
        if writer is not None:
            os.chown(self._local_log, writer.uid, writer.gid)
        if volume_logs is None or not self._volume_answers:
            return

        def work() -> bytes:
            volume_logs.mkdir(parents=True, exist_ok=True)
            _append(volume_logs / "startup.log", data)
            return b""

        try:
            run_within(WRITE_SECONDS, as_user(writer, work))
        except (TimedOut, OSError) as error:
            # Once is enough to wait.
            self._volume_answers = False
            print(f"startup.log could not be written to {volume_logs} ({error})", flush=True)


def _append(file: Path, data: bytes) -> None:
    with file.open("ab") as opened:
        opened.write(data)
