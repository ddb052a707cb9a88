"""Containers of the image: what a user, an orchestrator and an attacker meet."""

import functools
import hashlib
import io
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from image.engine import EngineError
from tests.e2e.test_install_and_run import MODEL, picture, tiny_preset, upload
from tests.fakes.model_host import ModelHost
from tests.image.container import CAPABILITIES, STATE_DIR, RunningContainer
from tests.running import free_ports

pytestmark = pytest.mark.engine

# As deploy/compose.yaml has it.
HARDENED = (
    "--read-only",
    "--cap-drop=ALL",
    *(f"--cap-add={name}" for name in CAPABILITIES),
    "--security-opt=no-new-privileges",
    "--tmpfs=/tmp:exec",
    "--tmpfs=/var/lib/suite:exec,mode=1777",
    "--pids-limit=512",
    "--memory=6g",
)
# Every process: its pid, uid, gid and command.
PROCESSES = """
import pathlib
for status in pathlib.Path('/proc').glob('[0-9]*/status'):
    try:
        fields = dict(line.split(':', 1) for line in status.read_text().splitlines() if ':' in line)
        command = status.with_name('cmdline').read_bytes().replace(b'\\0', b' ').decode()
    except OSError:
        continue
    print(fields['Uid'].split()[0], fields['Gid'].split()[0], command.split('\\n')[0] or fields['Name'], sep='|')
"""
# Every TCP socket that listens: address and port, in hexadecimal.
LISTENING = "awk '$4 == \"0A\" {print $2}' /proc/net/tcp /proc/net/tcp6"
SUITE, COMFYUI, GROUP = "10001", "10002", "10001"


@pytest.fixture
def container(new_container: Callable[..., RunningContainer]) -> RunningContainer:
    """On an empty volume, hardened as the deploy files have it, ready."""
    running = new_container(*HARDENED).start()
    running.wait_until_ready()
    return running


def install_and_upscale(suite: RunningContainer, host: ModelHost) -> None:
    suite.add_preset(tiny_preset(host))
    with suite.client() as client:
        assert client.post("/api/presets/TINY_UPSCALER/install").status_code == 202
        suite.wait_for(lambda: preset_state(client) == "installed", "the preset")
        file = suite.workspace / "models" / "upscale_models" / "tiny_esrgan_x4.safetensors"
        assert file.read_bytes() == MODEL
        upload(suite, client, "in.png", picture(64, 48))
        accepted = client.post("/api/comfyui/execute", json={"workflow": "TINY_UPSCALER"})
        assert accepted.status_code == 202, accepted.text
        run = f"/api/runs/{accepted.json()['prompt_id']}"
        suite.wait_for(lambda: client.get(run).json()["state"] not in {"pending", "running"}, "the run")
        outputs = client.get(run).json()["outputs"]
        assert Image.open(io.BytesIO(client.get(outputs[0]["url"]).content)).size == (256, 192)


def preset_state(client: httpx.Client, preset_id: str = "TINY_UPSCALER") -> Any:
    return client.get(f"/api/presets/{preset_id}/status").json()["state"]


def fetches(host: ModelHost) -> int:
    return sum(request.path == "/tiny.safetensors" for request in host.requests)


def test_from_an_empty_volume_to_a_picture_and_a_clean_end(
    container: RunningContainer, model_host: ModelHost, figures: Callable[[str], None]
) -> None:
    container.wait_for(lambda: "Ready after" in container.output(), "the last line of the boot")
    boot = next(line for line in container.output().splitlines() if line.startswith("Ready after"))
    install_and_upscale(container, model_host)
    seconds = container.stop()
    figures(f"minimal on an empty volume: {boot.split(':')[0].lower()}; stopped in {seconds:.1f} s")
    assert container.inspect(".State.ExitCode") == 0
    assert not container.inspect(".State.OOMKilled")


def test_a_second_container_goes_on_with_the_volume(
    new_container: Callable[..., RunningContainer], model_host: ModelHost
) -> None:
    first = new_container(*HARDENED).start()
    first.wait_until_ready()
    install_and_upscale(first, model_host)
    fetched = fetches(model_host)
    first.stop()
    first.remove_container()
    first.start()
    first.wait_until_ready()
    with first.client() as client:
        assert preset_state(client) == "installed"
    assert fetches(model_host) == fetched


def test_every_process_runs_as_the_user_it_should(container: RunningContainer) -> None:
    lines = container.execute("python", "-c", PROCESSES).splitlines()
    found = {command.strip(): (uid, gid) for uid, gid, command in (line.split("|", 2) for line in lines)}

    def user_of(part: str) -> set[tuple[str, str]]:
        users = {user for command, user in found.items() if part in command}
        assert users, f"no {part} in {list(found)}"
        return users

    assert user_of("tini") == {("0", "0")}
    assert user_of("supervisor.supervisord") == {("0", "0")}
    assert user_of("main.py --listen") == {(COMFYUI, GROUP)}
    for program in ("nginx", "redis-server", "dashboard", "worker", "worker.reconciler"):
        assert user_of(program) == {(SUITE, GROUP)}, program


def test_files_belong_to_whom_they_should(container: RunningContainer) -> None:
    workspace = container.workspace
    for path, uid, mode in (
        ("models", SUITE, 0o2775),
        ("output", COMFYUI, 0o2775),
        ("config", SUITE, 0o755),
        ("config/secrets", SUITE, 0o700),
    ):
        found = (workspace / path).stat()
        assert (str(found.st_uid), str(found.st_gid), found.st_mode & 0o7777) == (uid, GROUP, mode), path
    # What runs cannot change what it runs.
    writable = "find /app /opt /usr /etc -xdev -writable -not -type l 2>/dev/null || true"
    for user in ("suite", "comfyui"):
        assert container.execute("sh", "-c", writable, user=user) == ""


def test_comfyui_cannot_reach_the_suites_secrets_or_sockets(container: RunningContainer) -> None:
    for path in (f"{STATE_DIR}/sockets", f"{STATE_DIR}/secrets", "/workspace/config/secrets", f"{STATE_DIR}/redis"):
        with pytest.raises(EngineError, match="Permission denied"):
            container.execute("ls", path, user="comfyui")
    pid = container.supervisorctl("pid", "suite:comfyui").strip()
    environment = container.execute("cat", f"/proc/{pid}/environ", user="comfyui")
    assert "HOME=" in environment
    assert container.settings["DASHBOARD_PASSWORD"] not in environment
    assert "DASHBOARD_PASSWORD" not in environment


def test_health_follows_what_a_user_needs(new_container: Callable[..., RunningContainer]) -> None:
    container = new_container("--health-interval=1s", "--health-start-period=1s").start()
    container.wait_for(lambda: container.health() == "healthy", "healthy")
    container.supervisorctl("stop", "suite:redis")
    container.wait_for(lambda: container.health() == "unhealthy", "unhealthy")
    assert container.inspect(".State.Health.Log")[-1]["Output"] == "no answer from Redis\n"
    container.supervisorctl("start", "suite:redis")
    container.wait_for(lambda: container.health() == "healthy", "healthy again")
    container.supervisorctl("stop", "suite:dashboard")
    container.wait_for(lambda: container.health() == "unhealthy", "unhealthy")
    container.supervisorctl("start", "suite:dashboard")
    container.wait_for(lambda: container.health() == "healthy", "healthy again")


def test_it_runs_without_a_network_and_opens_two_ports(new_container: Callable[..., RunningContainer]) -> None:
    container = new_container(*HARDENED, DASHBOARD_PORT="8080", COMFYUI_PORT="3000", COMFYUI_LOOPBACK_PORT="8188")
    container.run("--network=none", "--health-interval=1s")
    container.wait_for(lambda: container.health() == "healthy", "healthy")
    ready = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8080/readyz').status)"
    container.wait_for(lambda: answers(container, ready) == "200", "everything to be ready")
    found = {tuple(line.split(":")) for line in container.execute("sh", "-c", LISTENING).splitlines()}
    ports = {(address, int(port, 16)) for address, port in found}
    assert ports == {("00000000", 8080), ("00000000", 3000), ("0100007F", 8188)}


def answers(container: RunningContainer, code: str) -> str:
    try:
        return container.execute("python", "-c", code)
    except EngineError:
        return ""


def test_any_user_may_run_it(new_container: Callable[..., RunningContainer], model_host: ModelHost) -> None:
    container = new_container(
        *("--user=54321:0", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
        *("--tmpfs=/tmp:exec", "--tmpfs=/var/lib/suite:exec,mode=1777"),
    )
    os.chown(container.workspace, 54321, 0)
    container.start()
    container.wait_until_ready()
    install_and_upscale(container, model_host)
    assert "not started as root" in container.output()
    assert {file.stat().st_uid for file in (container.workspace / "output" / "images").iterdir()} == {54321}
    container.stop()
    assert container.inspect(".State.ExitCode") == 0


def test_the_volume_belongs_to_whom_puid_and_pgid_say(
    new_container: Callable[..., RunningContainer], model_host: ModelHost
) -> None:
    container = new_container(PUID="1234", PGID="2345").start()
    container.wait_until_ready()
    install_and_upscale(container, model_host)
    models = (container.workspace / "models").stat()
    assert (models.st_uid, models.st_gid) == (1234, 2345)
    [output] = (container.workspace / "output" / "images").glob("upscaled*")
    assert (output.stat().st_gid, output.stat().st_mode & 0o060) == (2345, 0o060)


def test_puid_on_a_read_only_root_says_what_to_do(new_container: Callable[..., RunningContainer]) -> None:
    container = new_container(*HARDENED, PUID="1234", PGID="2345").start()
    container.wait_until_ready()
    assert "--user 1234:2345" in container.output()


def test_root_without_capabilities_says_what_it_needs(new_container: Callable[..., RunningContainer]) -> None:
    container = new_container("--cap-drop=ALL")
    container.workspace.chmod(0o777)
    container.start()
    container.wait_until_ready()
    assert "SETUID" in container.output()
    container.stop()
    assert container.inspect(".State.ExitCode") == 0


def test_a_plain_comfyui_tree_is_used_in_place(
    new_container: Callable[..., RunningContainer], model_host: ModelHost
) -> None:
    container = new_container(*HARDENED)
    old = container.workspace / "ComfyUI" / "models" / "upscale_models" / "tiny_esrgan_x4.safetensors"
    old.parent.mkdir(parents=True)
    old.write_bytes(MODEL)
    before = old.stat()
    container.start()
    container.wait_until_ready()
    container.add_preset(tiny_preset(model_host))
    with container.client() as client:
        own_origin = {"Origin": container.comfyui_address}
        offered = client.get(f"{container.comfyui_address}/object_info/UpscaleModelLoader", headers=own_origin).text
        assert "tiny_esrgan_x4.safetensors" in offered
        assert client.post("/api/presets/TINY_UPSCALER/install").status_code in {200, 202}
        container.wait_for(lambda: preset_state(client) == "installed", "the preset")
        assert fetches(model_host) == 0
        listed = client.get("/api/models/", params={"folder": "upscale_models"}).json()["models"]
        assert [model["name"] for model in listed] == ["tiny_esrgan_x4.safetensors"]
        client.delete("/api/presets/TINY_UPSCALER")
    assert old.stat().st_mtime_ns == before.st_mtime_ns
    assert hashlib.sha256(old.read_bytes()).digest() == hashlib.sha256(MODEL).digest()
    assert not list((container.workspace / "models" / "upscale_models").glob("*.safetensors"))


def test_the_developers_programs_are_behind_the_login(new_container: Callable[..., RunningContainer]) -> None:
    code_server, jupyter = free_ports(2)
    ports = {"CODE_SERVER_PORT": str(code_server), "JUPYTER_PORT": str(jupyter)}
    container = new_container(*HARDENED, variant="dev", CODE_SERVER="on", JUPYTER="on", **ports).start()
    for port, path, text in ((code_server, "/", "code-server"), (jupyter, "/lab", "JupyterLab")):
        address = f"http://127.0.0.1:{port}"
        with container.client() as client:
            headers = {"Origin": address, "Accept": "text/html"}
            page = functools.partial(client.get, f"{address}{path}", headers=headers, follow_redirects=True)
            container.wait_for(functools.partial(lambda page: page().status_code == 200, page), text)
            assert text in page().text
        assert httpx.get(f"{address}{path}").status_code == 401
    lines = container.execute("python", "-c", PROCESSES).splitlines()
    shells = {line.split("|")[0] for line in lines if "/opt/code-server" in line or "/opt/jupyter" in line}
    assert shells == {COMFYUI}
    container.stop()
    assert container.inspect(".State.ExitCode") == 0


def test_bad_settings_end_it_with_a_sentence(new_container: Callable[..., RunningContainer]) -> None:
    container = new_container(DASHBOARD_PORT="eighty", DOWNLOAD_WORKERS="0")
    container.run("--network=none")
    container.wait_for(lambda: container.inspect(".State.Status") == "exited", "the end")
    assert container.inspect(".State.ExitCode") == 2
    said = container.output()
    assert "DASHBOARD_PORT" in said
    assert "DOWNLOAD_WORKERS" in said
    assert "Traceback" not in said


def test_an_interrupt_ends_it_as_well(container: RunningContainer) -> None:
    container.stop(signal.SIGINT)
    assert container.inspect(".State.ExitCode") == 0


@pytest.fixture(autouse=True)
def nothing_of_an_earlier_run_listens() -> Iterator[None]:
    """On the machine's network, a container left over would answer for the next one."""
    yield
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", 8188)) != 0
