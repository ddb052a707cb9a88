"""What tests share: a folder that is a workspace, a host of models, a Redis, and suites that run."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from services import http_stream
from services.model_folders import KNOWN_FOLDERS
from services.settings import Settings, load
from services.workspace import Workspace
from tests.fakes.internet import Internet
from tests.fakes.model_host import ModelHost
from tests.running import RunningSuite


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A volume with the whole folder tree on it."""
    made = Workspace(tmp_path / "workspace")
    for folder in made.folders(KNOWN_FOLDERS):
        (made.root / folder.path).mkdir(parents=True, exist_ok=True)
    return made


@pytest.fixture
def settings(workspace: Workspace, redis_server: Path) -> Settings:
    """For what runs in this process: the workspace above, and a Redis at `redis_server`."""
    return load(
        {
            "WORKSPACE": str(workspace.root),
            "STATE_DIR": str(redis_server.parent.parent),
            "DOWNLOAD_PRIVATE_HOSTS": "on",
            "DISK_RESERVE_BYTES": "0",
        }
    )


@pytest.fixture
def model_host() -> Iterator[ModelHost]:
    with ModelHost() as host:
        yield host


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Internet]:
    """The hubs, believed by this process. `knows` is a token of both, granted what is gated; `lacks` one of Hugging
    Face that was not."""
    with Internet(hf=("knows", "lacks"), civitai=("knows",)) as made:
        monkeypatch.setenv("SSL_CERT_FILE", str(made.ca_file))
        http_stream._tls.cache_clear()
        yield made
    http_stream._tls.cache_clear()


@pytest.fixture
def redis_server() -> Iterator[Path]:
    """The socket of a Redis of its own, empty, where STATE_DIR has it."""
    state = Path(tempfile.mkdtemp(prefix="redis-", dir="/tmp"))
    sockets = state / "sockets"
    sockets.mkdir()
    process = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", str(sockets / "redis.sock"), "--save", "", "--dir", str(state)],
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait_for_redis(sockets / "redis.sock")
        yield sockets / "redis.sock"
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(state)


@pytest.fixture(scope="session")
def suite() -> Iterator[RunningSuite]:
    """The whole suite around the real ComfyUI, ready. Shared by all tests: leave it as it was found."""
    running = RunningSuite(COMFYUI_ARGS="--disable-api-nodes")
    try:
        running.start()
        running.wait_until_ready()
        yield running
    finally:
        running.remove()


@pytest.fixture
def new_suite() -> Iterator[Callable[..., RunningSuite]]:
    """Makes suites for one test alone; not started. Without ComfyUI unless asked for: it takes seconds to load."""
    made: list[RunningSuite] = []

    def make(*, comfyui: bool = False, **settings: str) -> RunningSuite:
        if not comfyui:
            settings = {"COMFYUI_PYTHON": "/nonexistent/python", **settings}
        made.append(RunningSuite(**settings))
        return made[-1]

    try:
        yield make
    finally:
        for running in made:
            running.remove()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A new folder that the suite's users may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="open-", dir="/tmp"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def stand_in_comfyui() -> Iterator[Callable[[str], dict[str, str]]]:
    """Settings that start tests/fakes/comfyui in ComfyUI's place, in the mode given."""
    folders: list[Path] = []

    def settings_for(mode: str) -> dict[str, str]:
        folder = Path(tempfile.mkdtemp(prefix="comfyui-", dir="/tmp"))
        folders.append(folder)
        folder.chmod(0o755)
        shutil.copy(Path(__file__).parent / "fakes" / "comfyui" / "main.py", folder)
        (folder / "mode").write_text(mode)
        return {"COMFYUI_DIR": str(folder), "COMFYUI_PYTHON": sys.executable}

    yield settings_for
    for folder in folders:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def comfyui_dir() -> Path:
    """The ComfyUI that make fetched."""
    assert "COMFYUI_DIR" in os.environ, "run the tests with `make test`: it fetches ComfyUI"
    return Path(os.environ["COMFYUI_DIR"])


def _wait_for_redis(socket_path: Path) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            client = redis.Redis(unix_socket_path=str(socket_path))
            client.ping()
            client.close()
            return
        except redis.RedisError:
            assert time.monotonic() < until, "redis-server did not start"
            time.sleep(0.02)
