"""A model, what a preset says of it, and someone who watches it being fetched."""

import hashlib
import json
import random
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.artifacts import Artifact
from services.downloads import Fetcher
from services.progress import FileProgress
from services.settings import Secret
from services.sources import Sources
from services.workspace import Workspace

PATH = "/model.safetensors"
MIB = 1024 * 1024

SOURCES = Sources(Secret(""), Secret(""), "", private_hosts=True)


def model(size: int, seed: int = 0) -> bytes:
    """A safetensors file of `size` bytes: u64 header length, JSON header, data."""
    header = json.dumps({"t": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}).encode()
    start = struct.pack("<Q", len(header)) + header
    return start + random.Random(seed).randbytes(size - len(start))


DATA = model(1_500_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


class Watcher:
    """Hears every report; `stop_when` decides, from the last report, whether the download is told to stop."""

    def __init__(self) -> None:
        self.reports: list[FileProgress] = []
        self.times: list[float] = []
        self.stop_when: Callable[[FileProgress], bool] = lambda _: False
        self.on_report: Callable[[FileProgress], None] = lambda _: None

    def report(self, progress: FileProgress) -> None:
        self.reports.append(progress)
        self.times.append(time.monotonic())
        self.on_report(progress)

    def stop_reason(self, _artifact_id: str) -> str | None:
        return "told to" if self.stop_when(self.reports[-1]) else None


def fetcher_for(
    workspace: Workspace, watcher: Watcher, *, reserve_bytes: int = 0, sources: Sources = SOURCES, **more: Any
) -> Fetcher:
    return Fetcher(workspace, sources, reserve_bytes, watcher.report, watcher.stop_reason, **more)


def artifact(url: str, data: bytes = DATA, /, **changes: Any) -> Artifact:
    """Of `data`, with all that can be known of it."""
    sha256 = SHA256 if data is DATA else hashlib.sha256(data).hexdigest()
    values = {"folder": "checkpoints", "name": "model.safetensors", "size_bytes": len(data), "sha256": sha256}
    return Artifact(url, **{**values, **changes})


def target_of(workspace: Workspace, wanted: Artifact) -> Path:
    return workspace.model_file(wanted.folder, wanted.name)


def left_behind(workspace: Workspace) -> list[str]:
    return sorted(entry.name for entry in (workspace.models / "checkpoints").iterdir())
