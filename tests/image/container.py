"""A container of the image, with the interface of a suite that runs on the machine itself."""

import json
import signal
import subprocess
import time
from typing import Any

from image.engine import Engine, EngineError
from tests.running import STOP_SECONDS, RunningSuite

STATE_DIR = "/var/lib/suite/state"
# What a suite needs whose users are kept apart; deploy/compose.yaml gives the same.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID")


class RunningContainer(RunningSuite):
    """`flags` are those of `docker run`, `settings` environment variables. On the machine's own network: our engine
    makes none."""

    def __init__(self, engine: Engine, image: str, *flags: str, **settings: str) -> None:
        super().__init__(COMFYUI_ARGS="--disable-api-nodes", **settings)
        self.workspace.mkdir()
        self.settings["WORKSPACE"] = "/workspace"
        self.settings["STATE_DIR"] = STATE_DIR
        self.name = self.folder.name
        self.engine = engine
        self._image = image
        self._flags = flags

    def start(self) -> "RunningContainer":
        """Returns when the dashboard answers."""
        self.run("--network=host")
        super().wait_until_answers()
        return self

    def run(self, *flags: str) -> None:
        environment = [f"--env={name}={value}" for name, value in self.settings.items()]
        volume = f"--volume={self.workspace}:/workspace"
        self.engine.docker(
            "run", "--detach", f"--name={self.name}", *flags, volume, *environment, *self._flags, self._image
        )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        started = time.monotonic()
        self.engine.docker("stop", f"--signal={number.name}", f"--time={STOP_SECONDS:.0f}", self.name)
        return time.monotonic() - started

    def remove(self) -> None:
        self.engine.docker("rm", "--force", "--volumes", self.name, check=False)
        super().remove()

    def remove_container(self) -> None:
        """The volume stays."""
        self.engine.docker("rm", "--force", self.name)

    def execute(self, *command: str, user: str = "root") -> str:
        return self.engine.docker("exec", f"--user={user}", self.name, *command)

    def inspect(self, path: str) -> Any:
        return json.loads(self.engine.docker("inspect", f"--format={{{{json {path}}}}}", self.name))

    def supervisorctl(self, *arguments: str) -> str:
        """As docs/operations.md has it for the image."""
        return self.engine.docker("exec", self.name, "supervisorctl", *arguments, check=False)

    def health(self) -> str:
        state: str = self.inspect(".State.Health.Status")
        return state

    def output(self) -> str:
        command = ["docker", "logs", "--tail=60", self.name]
        said = subprocess.run(
            command, env=self.engine.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        logs = f"tail -n 20 {STATE_DIR}/logs/*.log"
        try:
            return f"{said.stdout}\n{self.execute('sh', '-c', logs)}"
        except EngineError:
            return said.stdout
