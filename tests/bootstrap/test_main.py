import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.settings import APP_DIR, Settings
from tests.bootstrap.conftest import IN_A_NAMESPACE, PRIVATE_MOUNTS, MakeSettings


def run(module: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module],
        cwd=APP_DIR,
        env={"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def places(settings: Settings) -> dict[str, str]:
    return {
        "WORKSPACE": str(settings.workspace),
        "STATE_DIR": str(settings.state_dir),
        "DASHBOARD_PORT": str(settings.dashboard_port),
        "COMFYUI_PORT": str(settings.comfyui_port),
        "COMFYUI_LOOPBACK_PORT": str(settings.comfyui_loopback_port),
    }


def test_bad_settings_end_the_start_with_all_their_names() -> None:
    result = run("bootstrap", AUTH="perhaps", DASHBOARD_PORT="0", WORKSPACE="here")
    assert result.returncode == 2
    for name in ("AUTH", "DASHBOARD_PORT", "WORKSPACE"):
        assert f"\n{name}: " in result.stderr
    assert "Traceback" not in result.stderr


def test_a_state_folder_that_cannot_be_made_ends_the_start_with_a_sentence(make_settings: MakeSettings) -> None:
    result = run("bootstrap", **{**places(make_settings()), "STATE_DIR": "/proc/nowhere"})
    assert result.returncode == 1
    assert "The suite cannot start:\nSTATE_DIR=/proc/nowhere cannot be used" in result.stderr
    assert "Traceback" not in result.stderr


def test_no_folder_for_temporary_files_ends_the_start_with_a_sentence(make_settings: MakeSettings) -> None:
    mount = f'{PRIVATE_MOUNTS}for at in /tmp /var/tmp; do mount --bind -o ro $at $at; done; exec "$@"'
    command = [*IN_A_NAMESPACE, "sh", "-ec", mount, "sh", sys.executable, "-m", "bootstrap"]
    environ = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "PYTHONPATH": str(APP_DIR), **places(make_settings())}
    result = subprocess.run(command, cwd="/proc", env=environ, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert result.stderr.startswith("The suite cannot start:\nno folder for temporary files can be written: mount one")
    assert "Traceback" not in result.stderr


def test_a_full_disk_ends_the_start_with_a_sentence(make_settings: MakeSettings, full_folder: Path) -> None:
    result = run("bootstrap", **{**places(make_settings()), "STATE_DIR": str(full_folder)})
    assert result.returncode == 1
    assert "The suite cannot start" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("workspace", "state"), [("/proc/self", "read_only"), ("/nonexistent", "missing")])
def test_the_probe_says_what_it_found_as_json(workspace: str, state: str) -> None:
    result = run("bootstrap.probe", WORKSPACE=workspace)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["state"], found["path"]) == (state, workspace)
