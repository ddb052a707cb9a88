"""The Dockerfile and nginx's configuration as their linters see them; no engine is needed."""

import subprocess
import sys
from pathlib import Path

import pytest

from bootstrap import programs, users
from provision.comfyui_source import VERSION
from provision.comfyui_venv import TORCH
from services.settings import APP_DIR, load

DOCKERFILE = APP_DIR / "Dockerfile"
TOOLS = Path(sys.executable).parent


def lint(program: str, *arguments: str | Path) -> str:
    """What it found; empty when nothing."""
    done = subprocess.run([TOOLS / program, *arguments], cwd=APP_DIR, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_hadolint_finds_nothing() -> None:
    assert lint("hadolint", DOCKERFILE) == ""


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian:latest\nRUN cd /tmp\n")
    assert "DL3007" in lint("hadolint", tmp_path / "Dockerfile")


@pytest.fixture
def nginx_configuration(tmp_path: Path) -> Path:
    """As bootstrap writes it in the image."""
    given = {"STATE_DIR": str(tmp_path), "TRUST_PROXY": "on", "ALLOWED_HOSTS": "comfy.example.com"}
    dev_tools = {"CODE_SERVER": "on", "JUPYTER": "on"}
    installed = dict.fromkeys(("CODE_SERVER_PROGRAM", "JUPYTER_PROGRAM"), sys.executable)
    settings = load({**given, **dev_tools, **installed})
    for name in ("nginx", "sockets"):
        (tmp_path / name).mkdir()
    programs.write_configuration(settings, users.Users(None, None, None, ()), Path(sys.executable), tmp_path / "output")
    return tmp_path / "nginx" / "nginx.conf"


def test_gixy_finds_nothing(nginx_configuration: Path) -> None:
    # Origins are compared with the host and its port, which $host lacks; a host that is not known is refused before.
    assert lint("gixy", "--skips=host_spoofing", nginx_configuration) == ""


def test_gixy_would_find_something(tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text("http { server { location /files { alias /srv/; } } }\n")
    assert "alias_traversal" in lint("gixy", tmp_path / "nginx.conf")


@pytest.mark.parametrize(
    ("argument", "value"),
    [("COMFYUI_VERSION", VERSION), ("TORCH_VERSION", TORCH)],
)
def test_the_image_holds_the_versions_that_make_run_fetches(argument: str, value: str) -> None:
    assert f"ARG {argument}={value}\n" in DOCKERFILE.read_text()


def test_every_tool_of_one_version_is_the_one_that_is_locked() -> None:
    lock = (APP_DIR / "provision" / "requirements-uv.lock").read_text()
    uv = next(line.split("==")[1].split()[0] for line in lock.splitlines() if line.startswith("uv=="))
    assert f"ARG UV_IMAGE=astral/uv:{uv}\n" in DOCKERFILE.read_text()


def test_every_base_can_be_replaced() -> None:
    text = DOCKERFILE.read_text()
    stages = {line.split(" AS ")[1] for line in text.splitlines() if line.startswith("FROM") and " AS " in line}
    for line in text.splitlines():
        if line.startswith("FROM "):
            base = line.split()[1]
            assert base.startswith("${") or base == "scratch" or base in stages, line
