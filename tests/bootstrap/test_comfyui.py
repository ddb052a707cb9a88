import os
import subprocess
import sys
from pathlib import Path

import pytest

from bootstrap import comfyui
from bootstrap.comfyui import GAVE_UP, Launch
from services.comfyui_starts import MAX_STARTS, StartLedger
from services.settings import APP_DIR, SECRET_NAMES, Settings
from tests.bootstrap.conftest import MakeSettings

LAUNCH = Launch("/v/config/extra_model_paths.yaml", "/v/output", "/v/uploads/input", "/v/user")


def arguments(settings: Settings, *, safe_mode: bool = False, cpu: bool = False) -> list[str]:
    return comfyui.arguments(settings, LAUNCH, safe_mode=safe_mode, cpu=cpu)


def value_of(option: str, command: list[str]) -> str:
    return command[command.index(option) + 1]


def test_comfyui_is_told_where_everything_lies(config: Settings) -> None:
    command = arguments(config)
    assert command[:2] == [str(config.comfyui_python), "main.py"]
    assert {option: value_of(option, command) for option in command if option.endswith(("-directory", "-config"))} == {
        "--extra-model-paths-config": "/v/config/extra_model_paths.yaml",
        "--output-directory": "/v/output",
        "--input-directory": "/v/uploads/input",
        "--user-directory": "/v/user",
        "--temp-directory": str(config.state_dir / "comfyui"),
    }


def test_comfyui_listens_on_loopback_only(config: Settings) -> None:
    command = arguments(config)
    assert value_of("--listen", command) == "127.0.0.1"
    assert value_of("--port", command) == str(config.comfyui_loopback_port)


@pytest.mark.parametrize("given", [True, False])
def test_a_machine_without_a_gpu_computes_on_its_processor(given: bool, config: Settings) -> None:
    assert ("--cpu" in arguments(config, cpu=given)) is given


def test_the_manager_is_on_where_comfyui_knows_it_and_has_it(make_settings: MakeSettings, tmp_path: Path) -> None:
    places = {"COMFYUI_DIR": str(tmp_path / "comfyui"), "COMFYUI_PYTHON": str(tmp_path / "venv" / "bin" / "python")}
    (tmp_path / "comfyui").mkdir()
    (tmp_path / "venv" / "lib" / "python3.13" / "site-packages" / "comfyui_manager").mkdir(parents=True)
    assert "--enable-manager" not in arguments(make_settings(**places))
    (tmp_path / "comfyui" / "manager_requirements.txt").touch()
    assert "--enable-manager" in arguments(make_settings(**places))
    assert "--enable-manager" not in arguments(make_settings(**places, COMFYUI_MANAGER="off"))


@pytest.mark.parametrize("given", [True, False])
def test_safe_mode_loads_no_custom_nodes(given: bool, config: Settings) -> None:
    assert ("--disable-all-custom-nodes" in arguments(config, safe_mode=given)) is given


def test_the_owners_arguments_come_last(make_settings: MakeSettings) -> None:
    config = make_settings(COMFYUI_ARGS="--lowvram --preview-method none")
    assert arguments(config)[-3:] == ["--lowvram", "--preview-method", "none"]


# What it is given to see


@pytest.fixture
def _secrets_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRET_NAMES:
        monkeypatch.setenv(name, "canary")
        monkeypatch.setenv(f"{name}_FILE", "/canary/secrets")
    for name in ("REDIS_URL", "SUPERVISOR_SERVER_URL", "STATE_DIR", "RUNPOD_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "/canary")


@pytest.mark.usefixtures("_secrets_around")
def test_no_secret_and_no_address_of_ours_is_in_its_environment(config: Settings) -> None:
    assert "canary" not in str(comfyui.environment(config))


@pytest.mark.parametrize("name", ["LANG", "LC_ALL", "TZ", "NVIDIA_VISIBLE_DEVICES", "CUDA_HOME", "HTTPS_PROXY"])
def test_what_a_program_needs_of_its_machine_is_passed_on(
    name: str, config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "given")
    assert comfyui.environment(config)[name] == "given"


def test_caches_lie_on_the_volume(config: Settings) -> None:
    environment = comfyui.environment(config)
    for name in ("HF_HOME", "PIP_CACHE_DIR", "UV_CACHE_DIR"):
        assert Path(environment[name]).is_relative_to(config.workspace / "cache")


def test_its_home_is_its_own(config: Settings) -> None:
    assert comfyui.environment(config)["HOME"] == str(config.state_dir / "comfyui" / "home")


def test_it_has_a_name_where_its_number_has_none(config: Settings) -> None:
    work = "import getpass; print(getpass.getuser())"
    number = ["setpriv", "--reuid=54321", "--regid=0", "--clear-groups"] if os.geteuid() == 0 else []
    command = [*number, "/usr/bin/python3", "-c", work]
    environment = comfyui.environment(config)
    assert subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True).stdout == "comfyui\n"


def test_its_python_comes_first(config: Settings) -> None:
    assert comfyui.environment(config)["PATH"].startswith(f"{config.comfyui_python.parent}:")


def test_it_cannot_change_what_it_is_started_with(config: Settings) -> None:
    comfyui.write_launch(config, LAUNCH)
    assert comfyui.launch_file(config).parent.stat().st_mode & 0o022 == 0
    assert comfyui.launch_file(config).stat().st_mode & 0o022 == 0


def test_a_link_in_the_ledgers_place_leads_nowhere(config: Settings, open_folder: Path) -> None:
    (open_folder / "theirs").write_text("theirs")
    (config.state_dir / "comfyui" / "starts.json").symlink_to(open_folder / "theirs")
    StartLedger(config.state_dir).reset(safe_mode=True)
    assert (open_folder / "theirs").read_text() == "theirs"
    assert StartLedger(config.state_dir).read().safe_mode


# How it is started


@pytest.fixture
def installed(config: Settings, open_folder: Path) -> dict[str, str]:
    """The environment of a suite whose ComfyUI only says what it was started with."""
    python = open_folder / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "in $(pwd)"; echo "with $*"; env\n')
    python.chmod(0o755)
    (open_folder / "comfyui").mkdir()
    (open_folder / "comfyui" / "main.py").touch()
    comfyui.write_launch(config, LAUNCH)
    return {
        "WORKSPACE": str(config.workspace),
        "STATE_DIR": str(config.state_dir),
        "COMFYUI_DIR": str(open_folder / "comfyui"),
        "COMFYUI_PYTHON": str(python),
        "COMFYUI_DEVICE": "cpu",
    }


def start(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bootstrap.comfyui"],
        cwd=APP_DIR,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_becomes_comfyui_with_nothing_of_ours_to_see(installed: dict[str, str]) -> None:
    secrets = dict.fromkeys(SECRET_NAMES, "canary")
    result = start({**installed, **secrets, "RUNPOD_API_KEY": "canary"})
    assert result.returncode == 0, result.stderr
    assert f"in {installed['COMFYUI_DIR']}" in result.stdout
    assert "--cpu" in result.stdout
    assert "canary" not in result.stdout + result.stderr
    assert "STATE_DIR" not in result.stdout


def test_each_start_is_counted_and_the_fifth_refused(installed: dict[str, str], config: Settings) -> None:
    for _ in range(MAX_STARTS):
        StartLedger(config.state_dir).begin()
    result = start(installed)
    assert result.returncode == GAVE_UP
    assert "not started again" in result.stdout
    assert StartLedger(config.state_dir).read().gave_up


def test_safe_mode_is_taken_from_the_ledger(installed: dict[str, str], config: Settings) -> None:
    StartLedger(config.state_dir).reset(safe_mode=True)
    assert "--disable-all-custom-nodes" in start(installed).stdout


@pytest.mark.parametrize("missing", ["COMFYUI_PYTHON", "COMFYUI_DIR"])
def test_a_comfyui_that_is_not_installed_is_named_and_not_tried_again(missing: str, installed: dict[str, str]) -> None:
    result = start({**installed, missing: "/nonexistent/place"})
    assert result.returncode == GAVE_UP
    assert "/nonexistent/place" in result.stdout
