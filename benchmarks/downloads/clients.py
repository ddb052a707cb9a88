"""The programs that are compared, and how each is told to bring a file in."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.downloads.files import Served
from benchmarks.downloads.hosts import Host
from services.artifacts import Artifact
from tests.running import ROOT

REPOSITORY = "bench/model"
RIVALS_PYTHON = str(ROOT / ".build" / "rivals" / "bin" / "python")


@dataclass(frozen=True)
class Task:
    """`hub`: the imitation of Hugging Face that has the file too. `hosts`: all that work for it."""

    url: str
    served: Served
    hub: Host
    hosts: Sequence[Host]
    ca_file: Path | None = None

    @property
    def name(self) -> str:
        return self.served.path.name


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


def environment(task: Task, folder: Path) -> dict[str, str]:
    trust = {"SSL_CERT_FILE": str(task.ca_file)} if task.ca_file else {}
    hub = {"HF_ENDPOINT": task.hub.other_name, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "hub")}
    return {**plain_environment(), **trust, **hub, **ours_environment(folder)}


def plain_environment() -> dict[str, str]:
    """Without what a user has set up for downloads of his own."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def ours_environment(workspace: Path) -> dict[str, str]:
    return {
        "WORKSPACE": str(workspace),
        "STATE_DIR": str(workspace),
        "DOWNLOAD_PRIVATE_HOSTS": "on",
        "DISK_RESERVE_BYTES": "0",
    }
