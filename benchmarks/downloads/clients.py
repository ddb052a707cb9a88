"""The programs that are compared, and one run of each, measured from outside."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.downloads import files, stopwatch
from benchmarks.downloads.files import Served
from benchmarks.downloads.hosts import Host
from services.artifacts import Artifact
from tests.running import ROOT

REPOSITORY = "bench/model"
TIMEOUT_SECONDS = 180.0
RIVALS_PYTHON = str(ROOT / ".build" / "rivals" / "bin" / "python")


@dataclass(frozen=True)
class Task:
    """`hub`: the imitation of Hugging Face that has the file too. `hosts`: all that work for it."""

    url: str
    served: Served
    hub: str
    hosts: Sequence[Host]
    ca_file: Path | None = None

    @property
    def name(self) -> str:
        return self.served.path.name


@dataclass(frozen=True)
class Run:
    """What one download took. `threads`: CPU seconds of ours, by thread."""

    size_bytes: int
    seconds: float
    user_seconds: float
    system_seconds: float
    host_seconds: float
    threads: Mapping[str, float] = field(default_factory=dict)

    @property
    def mib_per_second(self) -> float:
        return self.size_bytes / files.MIB / self.seconds

    @property
    def cpu_seconds(self) -> float:
        return self.user_seconds + self.system_seconds

    @property
    def cpu_seconds_per_gb(self) -> float:
        return self.cpu_seconds / self.size_bytes * 1e9


# (command, stdin) that brings a task's file into a folder.
Command = Callable[[Task, Path], tuple[list[str], bytes]]


def _ours(*options: str) -> Command:
    def command(task: Task, folder: Path) -> tuple[list[str], bytes]:
        artifact = Artifact(task.url, "checkpoints", task.name, task.served.size_bytes, task.served.sha256)
        return fetching([artifact], *options)

    return command


def fetching(artifacts: Sequence[Artifact], *options: str) -> tuple[list[str], bytes]:
    return [sys.executable, "-m", "benchmarks.downloads.fetch", *options], msgspec.json.encode(list(artifacts))


def _curl(task: Task, folder: Path) -> tuple[list[str], bytes]:
    trust = ["--cacert", str(task.ca_file)] if task.ca_file else []
    return ["curl", "-q", "-sS", "--fail", *trust, "-o", str(folder / task.name), task.url], b""


def _aria2c(task: Task, folder: Path) -> tuple[list[str], bytes]:
    trust = [f"--ca-certificate={task.ca_file}"] if task.ca_file else []
    options = ["--no-conf=true", "--allow-overwrite=true", "--quiet=true", *trust]
    return ["aria2c", "-x16", "-s16", *options, "-d", str(folder), "-o", task.name, task.url], b""


def _hub(task: Task, folder: Path) -> tuple[list[str], bytes]:
    return [RIVALS_PYTHON, "-m", "benchmarks.downloads.fetch_hub", REPOSITORY, task.name, str(folder)], b""


def _aiohttp(task: Task, folder: Path) -> tuple[list[str], bytes]:
    return [RIVALS_PYTHON, "-m", "benchmarks.downloads.fetch_aiohttp", task.url, str(folder / task.name)], b""


OURS, UNHASHED, CURL, ARIA2C = "ours", "ours, not hashed", "curl", "aria2c -x16 -s16"
HUB, AIOHTTP = "huggingface_hub", "aiohttp, 8 KiB"
CLIENTS: Mapping[str, Command] = {
    OURS: _ours(),
    UNHASHED: _ours("--unhashed"),
    CURL: _curl,
    ARIA2C: _aria2c,
    HUB: _hub,
    AIOHTTP: _aiohttp,
}


def run(client: str, task: Task, folder: Path) -> Run:
    """Into `folder`, which is empty before and after. Raises RuntimeError when the file did not come right."""
    folder.mkdir()
    # Nobody pays for what another left to be written.
    os.sync()
    try:
        command, words = CLIENTS[client](task, folder)
        host_before = sum(host.cpu_seconds() for host in task.hosts)
        found = measured(command, words, folder, task)
        host_seconds = sum(host.cpu_seconds() for host in task.hosts) - host_before
        files.check(next(folder.rglob(task.name)), task.served)
    finally:
        shutil.rmtree(folder)
    return msgspec.structs.replace(found) if False else _with_host(found, host_seconds)


def _with_host(found: Run, seconds: float) -> Run:
    return Run(found.size_bytes, found.seconds, found.user_seconds, found.system_seconds, seconds, found.threads)


def measured(command: list[str], words: bytes, folder: Path, task: Task) -> Run:
    return Run(0, 0, 0, 0, 0)
