"""What is kept of each run on the volume: how it went in `config/runs/`, what it ran in `config/runs/prompts/`.

A run that is under way belongs to the pod that wrote it, until that pod has not touched its mark for a while: then it
went with its pod, and is shown as lost. Nobody but that pod changes its record.
"""

import contextlib
import os
import time
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from services.comfyui import Prompt
from services.errors import InvalidName, NotFound
from services.records import RecordFolder
from services.runs.run import Run
from services.workflows.document import Document, Graph
from services.workspace import Workspace, check_name, write_atomic

KEEP_RUNS = 500
MAX_CONTENT_BYTES = 2 * 1024 * 1024
BEAT_SECONDS = 20.0
# By the clock of the volume. Longer than a dashboard takes to come back.
STALE_SECONDS = 120.0

# Prompts are their author's business.
_MODE = 0o600


class RunRecord(Struct, frozen=True):
    """`comfyui`: when the ComfyUI was started that had it last. `shape`, `node_seconds`: services/runs/expected.py."""

    run: Run
    pod: str
    comfyui: float | None = None
    shape: str = ""
    node_seconds: dict[str, float] = {}


class Content(Struct, frozen=True):
    """What ran. The prompt as ComfyUI got it; the graph where one is known."""

    prompt: Prompt
    graph: Graph | None = None

    @property
    def document(self) -> Document:
        return Document(self.graph, self.prompt)


def encode(content: Content) -> bytes | None:
    """Without the graph where both are too large; None where the prompt alone is."""
    for kept in (content, Content(content.prompt)):
        data = msgspec.json.encode(kept)
        if len(data) <= MAX_CONTENT_BYTES:
            return data
    return None


class Keeper(Protocol):
    """Where runs are remembered. Nothing of it fails or takes long, whatever the volume does."""

    async def put(self, record: RunRecord, content: bytes | None) -> None: ...

    def put_later(self, record: RunRecord, content: bytes | None = None) -> None: ...

    def drop(self, prompt_ids: list[str]) -> None: ...

    async def content(self, prompt_id: str) -> Content:
        """Raises NotFound, WorkspaceUnavailable."""
        ...


class RunRecords:
    """Blocking. `pod`: whose records are our own."""

    def __init__(self, workspace: Workspace, pod: str) -> None:
        self.pod = pod
        self._folder = workspace.config / "runs"
        self._records = RecordFolder(self._folder, RunRecord)

    def put(self, record: RunRecord, content: bytes | None) -> None:
        """`content` None: it is kept already, or cannot be. Raises NotEnoughSpace, OSError."""
        self._make_folders()
        if content is not None:
            # First: a record that says that it can be run again can.
            write_atomic(self._content_file(record.run.prompt_id), content, _MODE)
        data = msgspec.json.encode(record)
        write_atomic(self._folder / f"{check_name(record.run.prompt_id)}.json", data, _MODE)

    def all(self) -> list[RunRecord]:
        """The oldest first; what other pods have under way as `running` or `pending` while those live, else as lost.
        Raises OSError."""
        records = self._records.all().values()
        alive = {pod for pod in {record.pod for record in records if not record.run.is_over} if self._lives(pod)}
        shown = [r if r.run.is_over or r.pod in alive else _lost_with_pod(r) for r in records]
        return sorted(shown, key=lambda record: record.run.submitted_at)

    def content(self, prompt_id: str) -> Content:
        """Raises NotFound, OSError."""
        try:
            return msgspec.json.decode(self._content_file(prompt_id).read_bytes(), type=Content)
        except (FileNotFoundError, InvalidName, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise NotFound(f"what run '{prompt_id[:60]}' ran was not kept") from None

    def delete(self, prompt_ids: list[str]) -> None:
        """Raises OSError."""
        for prompt_id in prompt_ids:
            # Someone else's program may have given it a name that no file can have: it was not kept.
            with contextlib.suppress(InvalidName):
                self._records.delete(prompt_id)
                self._content_file(prompt_id).unlink(missing_ok=True)

    def trim(self, keep: int = KEEP_RUNS) -> int:
        """Removes all but the newest; how many. What is under way stays. Raises OSError."""
        over = [record.run.prompt_id for record in self.all() if record.run.is_over]
        old = over[: max(len(over) - keep, 0)]
        self.delete(old)
        return len(old)

    def beat(self) -> None:
        """This pod lives. Raises OSError."""
        self._make_folders()
        self._mark(self.pod).touch(_MODE)
        os.utime(self._mark(self.pod))

    def _lives(self, pod: str) -> bool:
        if pod == self.pod:
            return True
        try:
            beat_at = self._mark(pod).stat().st_mtime
        except (FileNotFoundError, InvalidName):
            return False
        return self._now() - beat_at < STALE_SECONDS

    def _now(self) -> float:
        """By the clock that stamps the marks, where it can be asked."""
        with contextlib.suppress(OSError):
            self.beat()
            return self._mark(self.pod).stat().st_mtime
        return time.time()

    def _mark(self, pod: str) -> Path:
        return self._folder / f"{check_name(pod)}.pod"

    def _content_file(self, prompt_id: str) -> Path:
        return self._folder / "prompts" / f"{check_name(prompt_id)}.json"

    def _make_folders(self) -> None:
        for folder in (self._folder, self._folder / "prompts"):
            folder.mkdir(mode=0o700, exist_ok=True)


def _lost_with_pod(record: RunRecord) -> RunRecord:
    run = replace(record.run, state="lost", error="the machine that ran this is gone", position=None, preview_url=None)
    return replace(record, run=run)
