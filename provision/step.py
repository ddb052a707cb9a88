"""What every step is given: the settings, a voice, and child processes under the step's own name."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from provision.commands import Commands
from provision.settings import Settings

_voice = threading.Lock()


@dataclass(frozen=True)
class Step:
    name: str
    settings: Settings
    commands: Commands

    def say(self, line: str) -> None:
        with _voice:
            print(f"{self.name:<10}{line}", flush=True)

    def run(
        self,
        what: str,
        *arguments: str | Path,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
        uninterrupted: bool = False,
    ) -> str:
        """As Commands.run()."""
        return self.commands.run(
            self.name,
            what,
            arguments,
            cwd=cwd,
            environment=environment,
            timeout_seconds=timeout_seconds,
            uninterrupted=uninterrupted,
        )

    def pip(self, what: str, python: Path, *arguments: str | Path) -> str:
        """Runs `python -m pip`. Two retries: pip's own five make a machine without network wait for each package."""
        return self.run(what, python, "-m", "pip", "--retries", "2", *arguments)
