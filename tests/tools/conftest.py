"""`preset-manager`, run as people run it, on a volume with a host of models beside it."""

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.installs import Installs
from services.verified import VerifiedFiles
from services.workspace import Workspace
from tests.fakes.model_host import ModelHost
from tests.faults.pod import Pod
from tests.running import ROOT

SECONDS = 60.0


def _heed_ctrl_c() -> None:
    """Tests that run in a shell's background have been told to ignore it, and would hand that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return msgspec.json.decode(self.out.encode())


@dataclass
class Manager:
    """`environment`: settings. The suite's user is whoever runs the tests, unless it is said otherwise."""

    workspace: Workspace
    environment: dict[str, str] = field(default_factory=dict)
    started: list["subprocess.Popen[str]"] = field(default_factory=list)

    def start(self, *arguments: str, **more: Any) -> "subprocess.Popen[str]":
        me = pwd.getpwuid(os.geteuid()).pw_name
        settings = {
            "WORKSPACE": str(self.workspace.root),
            "STATE_DIR": "/nonexistent/state",
            "DOWNLOAD_PRIVATE_HOSTS": "on",
            "DISK_RESERVE_BYTES": "0",
            "SUITE_USER": me,
            "COMFYUI_USER": me,
            **self.environment,
        }
        command = [sys.executable, "-m", "tools.preset_manager", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **more}
        environment = {**os.environ, **settings}
        self.started.append(
            subprocess.Popen(command, cwd=ROOT, env=environment, text=True, preexec_fn=_heed_ctrl_c, **pipes)
        )
        return self.started[-1]

    def run(self, *arguments: str) -> Done:
        return self.end(self.start(*arguments))

    def interrupt(self, process: "subprocess.Popen[str]") -> Done:
        """As Ctrl-C does."""
        process.send_signal(signal.SIGINT)
        return self.end(process)

    def end(self, process: "subprocess.Popen[str]") -> Done:
        out, err = process.communicate(timeout=SECONDS)
        return Done(process.returncode, out, err)

    def add(self, id_: str, *files: dict[str, Any], **more: Any) -> None:
        """A preset in the user's presets.yaml."""
        file = self.workspace.user_presets_file
        known = msgspec.json.decode(file.read_bytes())["presets"] if file.exists() else []
        preset = {"id": id_, "name": id_.title(), "kind": "image", "description": "", "files": list(files), **more}
        file.write_bytes(msgspec.json.encode({"presets": [*known, preset]}))

    @property
    def installs(self) -> Installs:
        return Installs(self.workspace)

    @property
    def verified(self) -> VerifiedFiles:
        return VerifiedFiles(self.workspace)

    def model(self, folder: str, name: str) -> Path:
        return self.workspace.model_file(folder, name)


@pytest.fixture
def manager(workspace: Workspace) -> Iterator[Manager]:
    """Nothing of the suite runs."""
    made = Manager(workspace)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def pod(workspace: Workspace, manager: Manager) -> Iterator[Pod]:
    """Redis, a worker and the reconciler, which `manager` finds."""
    with Pod(workspace.root) as running:
        manager.environment["STATE_DIR"] = str(running.state)
        yield running


@pytest.fixture
def small(model_host: ModelHost) -> dict[str, Any]:
    """A file of a preset: 50 kB at /small, of a size that only the host knows."""
    return {"url": model_host.add("/small", bytes(50_000)), "folder": "vae", "name": "small.ckpt"}
