"""An engine, the four variants built with stand-ins, and the figures that `make image-test` prints."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from image import build, engine, stand_ins
from image.engine import Engine
from image.stand_ins import StandIns
from services.settings import APP_DIR
from tests.image.container import RunningContainer

FIGURES: list[str] = []
TAG = "comfyui-docker:test"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FIGURES:
        terminalreporter.section("image")
        for line in FIGURES:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def figures() -> Callable[[str], None]:
    return FIGURES.append


@pytest.fixture(scope="session")
def docker() -> Iterator[Engine]:
    folder = APP_DIR / ".build" / "engine"
    yield engine.find(folder)
    engine.OwnEngine(folder).stop()


@pytest.fixture(scope="session")
def bases(docker: Engine) -> StandIns:
    return stand_ins.make(docker, APP_DIR, os.environ.get("SUITE", "bookworm"))


@pytest.fixture(scope="session")
def images(docker: Engine, bases: StandIns, figures: Callable[[str], None]) -> dict[str, str]:
    """Variant -> tag."""
    tags = {}
    for variant in build.VARIANTS:
        started = time.monotonic()
        tags[variant] = f"{TAG}-{variant}"
        build.with_stand_ins(docker, APP_DIR, variant, tags[variant], bases)
        figures(f"{variant}: built in {time.monotonic() - started:.1f} s")
    return tags


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what git tracks, to change."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=APP_DIR, stdout=subprocess.PIPE, check=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if (APP_DIR / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(APP_DIR / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def new_container(docker: Engine, images: dict[str, str]) -> Iterator[Callable[..., RunningContainer]]:
    """Makes containers for one test alone; not started."""
    made: list[RunningContainer] = []

    def make(*flags: str, variant: str = "minimal", **settings: str) -> RunningContainer:
        made.append(RunningContainer(docker, images[variant], *flags, **settings))
        return made[-1]

    yield make
    for container in made:
        container.remove()
