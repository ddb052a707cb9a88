"""Starting and stopping, on good volumes and on bad ones."""

import html
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.volume import last_report
from tests.fakes.faulty_volume import mounted
from tests.fakes.model_host import ModelHost
from tests.running import ROOT, RunningSuite, free_ports, status_of

NewSuite = Callable[..., RunningSuite]
StandIn = Callable[[str], dict[str, str]]


def status(suite: RunningSuite) -> dict[str, Any]:
    with suite.client() as client:
        found: dict[str, Any] = client.get("/api/system/status").json()
    return found


def bootstrap(*, timeout: float = 60, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs until it ends by itself."""
    command = [sys.executable, "-m", "bootstrap"]
    environment = {**os.environ, **settings}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def test_every_phase_is_logged_with_its_seconds(suite: RunningSuite) -> None:
    suite.wait_for(lambda: "Ready after" in suite.console.read_text(), "the last line", 60)
    steps = [json.loads(line) for line in suite.log_lines("startup.log")]
    phases = {(step["phase"], step["name"]): step for step in steps}
    assert {"1", "2", "3", "4"} == {phase for phase, _ in phases}
    for name in (("1", "Workspace"), ("2", "Model paths"), ("3", "ComfyUI"), ("4", "Health checks")):
        assert phases[name]["state"] == "ok"
        assert phases[name]["seconds"] >= 0


def test_the_console_says_when_it_is_ready(suite: RunningSuite) -> None:
    suite.wait_for(lambda: "Ready after" in suite.console.read_text(), "the ready line", 60)
    assert f"http://localhost:{suite.ports[0]}" in suite.console.read_text()


def test_ctrl_c_stops_everything_and_leaves_no_process(new_suite: NewSuite, stand_in_comfyui: StandIn) -> None:
    suite = new_suite(comfyui=True, **stand_in_comfyui("echo")).start()
    suite.wait_until_ready()
    pids = suite.pids()
    assert len(pids) > 8
    assert suite.stop(signal.SIGINT) < 15
    suite.wait_for_no_process(pids)


@pytest.mark.parametrize("fault", ["read_only", "full", "hang"])
def test_a_bad_volume_does_not_stop_the_boot(new_suite: NewSuite, open_folder: Path, fault: str) -> None:
    state = {"read_only": "read_only", "full": "full", "hang": "hung"}[fault]
    with mounted(open_folder, fault) as volume:
        suite = new_suite(WORKSPACE=str(volume.root)).start()
        suite.workspace = volume.root
        suite.wait_for(lambda: status(suite)["workspace"]["state"] == state, state, 60)
        found = status(suite)["workspace"]
        known = last_report(suite.state)
        assert known is not None
        assert known.state == state
        log = suite.state / "logs" / "startup.log"
        suite.wait_for(lambda: "Queue and workers" in log.read_text(), "the boot to go on", 60)
        assert str(volume.root) in found["message"]
        assert found["remedy"]
        with suite.client() as client:
            assert found["remedy"] in html.unescape(client.get("/", headers={"Accept": "text/html"}).text)
            assert client.get("/api/presets/").json()["presets"]
            refused = client.post("/api/presets/SD15/install")
            assert refused.status_code == 503
            assert refused.json()["error"]["type"] == "workspace_unavailable"
            volume.fault("none")
            suite.wait_for(lambda: status(suite)["workspace"]["state"] == "ok", "the volume to be good again", 60)
        suite.stop()


def test_a_secret_that_only_root_can_read_reaches_the_dashboard(new_suite: NewSuite, open_folder: Path) -> None:
    given = open_folder / "password"
    given.write_text("a secret of an orchestrator\n")
    given.chmod(0o400)
    suite = new_suite(DASHBOARD_PASSWORD="", DASHBOARD_PASSWORD_FILE=str(given)).start()
    with suite.client(sign_in=False) as client:
        assert client.post("/login", data={"password": given.read_text().strip()}).status_code == 303


def test_what_a_custom_node_left_behind_does_not_stop_the_boot(new_suite: NewSuite) -> None:
    suite = new_suite()
    (suite.state / "comfyui" / "starts.json" / "full").mkdir(parents=True)
    (suite.state / "comfyui" / "home").touch()
    suite.start()
    assert "ComfyUI's starts are counted on" in suite.console.read_text()


def test_a_missing_volume_does_not_stop_the_boot(new_suite: NewSuite, open_folder: Path) -> None:
    (open_folder / "file").write_text("not a folder")
    suite = new_suite(WORKSPACE=str(open_folder / "file" / "workspace")).start()
    suite.wait_for(lambda: status(suite)["workspace"]["state"] == "missing", "the dashboard to notice", 60)


def test_a_volume_that_hangs_later_leaves_the_dashboard_quick(new_suite: NewSuite, open_folder: Path) -> None:
    with mounted(open_folder) as volume:
        suite = new_suite(WORKSPACE=str(volume.root)).start()
        suite.workspace = volume.root
        with suite.client() as client:
            client.get("/api/presets/")
            volume.fault("hang")
            suite.wait_for(
                lambda: client.get("/api/system/status").json()["workspace"]["state"] == "hung", "the hang to show", 90
            )
            slowest = 0.0
            for _ in range(20):
                started = time.monotonic()
                assert client.get("/api/presets/").status_code == 200
                assert client.get("/", headers={"Accept": "text/html"}).status_code == 200
                slowest = max(slowest, time.monotonic() - started)
            assert slowest < 5
        volume.fault("none")
        suite.stop()


def test_a_password_is_made_once_and_kept(new_suite: NewSuite) -> None:
    suite = new_suite(DASHBOARD_PASSWORD="").start()
    file = suite.workspace / "config" / "secrets" / "dashboard_password"
    password = file.read_text().strip()
    assert len(password) >= 20
    assert file.stat().st_mode & 0o777 == 0o600
    assert suite.console.read_text().count(password) == 1
    suite.stop()
    suite.start()
    assert suite.console.read_text().count(password) == 1
    with httpx.Client(base_url=suite.address, headers={"Origin": suite.address}) as client:
        assert client.get("/api/presets/").status_code == 401
        assert client.post("/login", data={"password": password}).status_code == 303
        assert client.get("/api/presets/").status_code == 200


def test_a_comfyui_that_dies_after_its_start_is_given_up_and_can_be_tried_again(
    new_suite: NewSuite, stand_in_comfyui: StandIn
) -> None:
    stand_in = stand_in_comfyui("die 0.1")
    suite = new_suite(comfyui=True, **stand_in).start()

    def comfyui() -> dict[str, Any]:
        found: dict[str, Any] = status(suite)["comfyui"]
        return found

    suite.wait_for(lambda: comfyui()["state"] == "failed", "ComfyUI to be given up", 60)
    with suite.client() as client:
        page = client.get("/", headers={"Accept": "text/html"}).text
        assert "this is the last line before the end" in page
        (Path(stand_in["COMFYUI_DIR"]) / "mode").write_text("echo")
        answer = client.post("/api/system/processes/comfyui/restart", json={"safe_mode": True})
        assert answer.status_code == 202
        suite.wait_for(lambda: comfyui()["state"] == "ready", "ComfyUI to be back", 60)
        assert comfyui()["safe_mode"] is True
    assert "--disable-all-custom-nodes" in (suite.state / "logs" / "comfyui.log").read_text()


def test_every_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as first, socket.socket() as second:
        ports = []
        for taken in (first, second):
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            ports.append(str(taken.getsockname()[1]))
        ended = bootstrap(
            WORKSPACE=str(tmp_path / "w"), STATE_DIR=str(tmp_path / "s"), DASHBOARD_PORT=ports[0], COMFYUI_PORT=ports[1]
        )
    assert ended.returncode == 1
    assert "DASHBOARD_PORT" in ended.stderr
    assert "COMFYUI_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_every_bad_setting_is_named_at_once() -> None:
    ended = bootstrap(DASHBOARD_PORT="eighty", AUTH="maybe", WORKSPACE="relative")
    assert ended.returncode == 2
    for name in ("DASHBOARD_PORT", "AUTH", "WORKSPACE"):
        assert name in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    ended = bootstrap(PATH=str(tmp_path), WORKSPACE=str(tmp_path / "w"), STATE_DIR=str(tmp_path / "s"))
    assert ended.returncode == 1
    assert "nginx" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_ordinary_user_can_run_it_and_is_told_what_is_off(open_folder: Path) -> None:
    ports = [str(port) for port in free_ports(3)]
    folder = open_folder
    settings = {
        "WORKSPACE": str(folder / "workspace"),
        "STATE_DIR": str(folder / "state"),
        "DASHBOARD_PORT": ports[0],
        "COMFYUI_PORT": ports[1],
        "COMFYUI_LOOPBACK_PORT": ports[2],
        "COMFYUI_PYTHON": "/nonexistent/python",
    }
    become: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    with (folder / "console.log").open("wb") as console:
        process = subprocess.Popen(
            [sys.executable, "-m", "bootstrap"],
            cwd=ROOT,
            env={**os.environ, **settings, "HOME": str(folder)},
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **become,
        )
    try:
        until = time.monotonic() + 90
        while status_of(f"http://127.0.0.1:{ports[0]}/healthz") != 200:
            assert process.poll() is None, (folder / "console.log").read_text()
            assert time.monotonic() < until, (folder / "console.log").read_text()
            time.sleep(0.1)
        assert (
            "not started as root: ComfyUI and its custom nodes run as the same user"
            in (folder / "console.log").read_text()
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def test_an_install_asked_for_while_the_volume_was_full_goes_on_when_there_is_room(
    new_suite: NewSuite, model_host: ModelHost, open_folder: Path
) -> None:
    data = os.urandom(8 * 1024 * 1024)
    with mounted(open_folder) as volume:
        suite = new_suite(WORKSPACE=str(volume.root)).start()
        suite.workspace = volume.root
        url = model_host.add("/a", data, throttle=1_000_000)
        file = {"url": url, "folder": "checkpoints", "name": "a.ckpt", "size_bytes": len(data)}
        suite.add_preset({"id": "A", "name": "A", "kind": "image", "description": "A.", "files": [file]})
        with suite.client() as client:
            assert client.post("/api/presets/A/install").status_code == 202
            suite.wait_for(lambda: client.get("/api/presets/A/status").json()["progress"] > 10, "the start", 60)
            volume.fault("full")
            suite.wait_for(
                lambda: "no space" in (client.get("/api/presets/A/status").json()["error"] or ""), "the end", 60
            )
            assert not (volume.root / "models" / "checkpoints" / "a.ckpt").exists()
            model_host.behave("/a", throttle=None)
            volume.fault("none")
            suite.wait_for(lambda: client.get("/api/presets/A/status").json()["state"] == "installed", "it", 90)
        assert (volume.root / "models" / "checkpoints" / "a.ckpt").read_bytes() == data
        suite.stop()
