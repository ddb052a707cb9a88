import http.client
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from bootstrap import programs
from bootstrap.deadline import run_within
from bootstrap.programs import CannotStart, fill_in
from bootstrap.users import User, Users, as_user
from services.settings import SECRET_NAMES, Settings, load
from services.volume import VolumeReport
from tests.bootstrap.conftest import MakeSettings
from tests.running import free_ports

# Debian keeps nginx where only root's PATH looks.
ENVIRONMENT = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}


def test_a_template_is_filled_in() -> None:
    assert fill_in("a = @one@@two@, @one@", {"one": "1", "two": "2"}) == "a = 12, 1"


def test_a_name_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="three"):
        fill_in("@one@ @three@", {"one": "1"})


def test_what_is_filled_in_is_not_filled_in_again() -> None:
    assert fill_in("@one@", {"one": "@two@", "two": "2"}) == "@two@"


@pytest.mark.parametrize("text", ["user@example.com", "@starting_page;", "location @Login {"])
def test_an_at_sign_alone_is_left_as_it_is(text: str) -> None:
    assert fill_in(text, {}) == text


# Ports


def test_free_ports_are_no_problem(make_settings: MakeSettings) -> None:
    programs.check_ports(make_settings())


def test_every_port_that_is_taken_is_named_at_once(make_settings: MakeSettings) -> None:
    config = make_settings()
    taken = [("", config.dashboard_port), ("127.0.0.1", config.comfyui_loopback_port)]
    with socket.create_server(taken[0]), socket.create_server(taken[1]), pytest.raises(CannotStart) as caught:
        programs.check_ports(config)
    first, second = str(caught.value).splitlines()
    assert str(config.dashboard_port) in first
    assert "DASHBOARD_PORT" in first
    assert str(config.comfyui_loopback_port) in second
    assert "COMFYUI_LOOPBACK_PORT" in second


def test_a_port_of_a_developers_program_that_is_on_is_checked_too(make_settings: MakeSettings) -> None:
    (port,) = free_ports(1)
    with socket.create_server(("", port)):
        programs.check_ports(make_settings(JUPYTER_PORT=str(port)))
        with pytest.raises(CannotStart, match=f"port {port} .* JUPYTER_PORT"):
            programs.check_ports(make_settings(JUPYTER="on", JUPYTER_PORT=str(port)))


# The container's own folders


def test_sockets_and_secrets_are_closed_to_everyone_else(config: Settings) -> None:
    for name in ("sockets", "secrets", "redis", "nginx", "dashboard"):
        assert (config.state_dir / name).stat().st_mode & 0o777 == 0o700, name


def test_folders_that_are_there_are_made_right(config: Settings, nobody: Users) -> None:
    (config.state_dir / "secrets").chmod(0o777)
    programs.prepare_state(config, nobody)
    assert (config.state_dir / "secrets").stat().st_mode & 0o777 == 0o700


def test_a_link_in_comfyuis_own_folder_is_not_handed_over(
    config: Settings, real_users: Users, open_folder: Path
) -> None:
    target = open_folder / "target"
    target.mkdir(mode=0o755)
    (config.state_dir / "comfyui" / "home").rmdir()
    for name in ("home", "output"):
        (config.state_dir / "comfyui" / name).symlink_to(target)
    before = target.stat()
    programs.prepare_state(config, real_users)
    programs.comfyui_directories(config, VolumeReport("full", str(config.workspace), ""), real_users)
    after = target.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)


def test_a_file_in_comfyuis_own_folder_does_not_stop_the_boot(
    config: Settings, nobody: Users, capsys: pytest.CaptureFixture[str]
) -> None:
    (config.state_dir / "comfyui" / "home").rmdir()
    (config.state_dir / "comfyui" / "home").touch()
    programs.prepare_state(config, nobody)
    assert f"{config.state_dir}/comfyui/home could not be made" in capsys.readouterr().out


def test_a_state_folder_may_be_a_link(make_settings: MakeSettings, nobody: Users, open_folder: Path) -> None:
    (open_folder / "disk").mkdir()
    (open_folder / "state").symlink_to("disk")
    programs.prepare_state(make_settings(), nobody)
    assert (open_folder / "disk" / "secrets").stat().st_mode & 0o777 == 0o700


def test_the_sockets_of_programs_that_were_killed_are_gone(config: Settings, nobody: Users) -> None:
    config.dashboard_socket.touch()
    programs.prepare_state(config, nobody)
    assert not config.dashboard_socket.exists()


def test_a_second_suite_in_the_same_place_is_refused(config: Settings) -> None:
    programs.check_alone(config)
    with socket.socket(socket.AF_UNIX) as first:
        first.bind(str(config.supervisor_socket))
        first.listen()
        with pytest.raises(CannotStart, match=f"STATE_DIR={config.state_dir}"):
            programs.check_alone(config)


def test_a_path_too_long_for_a_socket_is_refused(make_settings: MakeSettings, nobody: Users, tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="too long"):
        programs.prepare_state(make_settings(STATE_DIR=str(tmp_path / ("a" * 100))), nobody)


def is_taken(state_dir: Path, make_settings: MakeSettings, nobody: Users) -> bool:
    try:
        programs.prepare_state(make_settings(STATE_DIR=str(state_dir)), nobody)
    except CannotStart:
        return False
    return True


def test_the_longest_path_that_is_taken_is_one_supervisord_can_use(
    make_settings: MakeSettings, nobody: Users, open_folder: Path
) -> None:
    state_dir = next(
        folder
        for folder in (open_folder / ("a" * length) for length in range(100, 1, -1))
        if is_taken(folder, make_settings, nobody)
    )
    with socket.socket(socket.AF_UNIX) as line:
        # It makes its socket under a name that ends in its pid, and renames it.
        line.bind(f"{state_dir}/sockets/supervisor.sock.4194304")


def test_a_path_too_long_in_bytes_is_refused(make_settings: MakeSettings, nobody: Users, open_folder: Path) -> None:
    rest = programs.SOCKET_PATH_MAX_BYTES - len(f"{open_folder}//sockets/supervisor.sock{programs.SUPERVISOR_SUFFIX}")
    with pytest.raises(CannotStart, match="too long"):
        programs.prepare_state(make_settings(STATE_DIR=str(open_folder / ("é" * rest))), nobody)


@pytest.mark.parametrize("state_dir", ["/proc/nowhere", "/dev/null/state"])
def test_a_place_where_no_folder_can_be_made_is_named(
    state_dir: str, make_settings: MakeSettings, nobody: Users
) -> None:
    with pytest.raises(CannotStart, match=f"STATE_DIR={state_dir}"):
        programs.prepare_state(make_settings(STATE_DIR=state_dir), nobody)


def test_comfyui_writes_to_the_volume_while_it_can(config: Settings, nobody: Users) -> None:
    report = VolumeReport("ok", str(config.workspace), "")
    assert programs.comfyui_directories(config, report, nobody) == {
        "output": config.workspace / "output",
        "input": config.workspace / "uploads" / "input",
        "user": config.workspace / "user",
    }


@pytest.mark.parametrize("state", ["read_only", "full", "hung", "missing"])
def test_comfyui_writes_beside_a_volume_that_cannot_be_written(state: str, config: Settings, nobody: Users) -> None:
    report = VolumeReport(state, str(config.workspace), "")  # type: ignore[arg-type]
    for folder in programs.comfyui_directories(config, report, nobody).values():
        assert folder.is_dir()
        assert folder.is_relative_to(config.state_dir)


# Secrets


def moved(environ: dict[str, str], make_settings: MakeSettings, users: Users) -> dict[str, str]:
    """What the programs' environment is made of `environ`."""
    config = make_settings(**environ)
    programs.prepare_state(config, users)
    after = dict(environ)
    programs.move_secrets_to_files(after, config, users)
    return after


def test_no_secret_stays_in_the_environment(make_settings: MakeSettings, nobody: Users) -> None:
    environ = {"PATH": "/bin", **{name: f"canary-{name}" for name in SECRET_NAMES}}
    after = moved(environ, make_settings, nobody)
    assert "canary" not in str(after)
    assert after["PATH"] == "/bin"


def test_a_secret_lies_in_a_file_only_its_owner_can_read(make_settings: MakeSettings, nobody: Users) -> None:
    file = Path(moved({"HF_TOKEN": " canary\n"}, make_settings, nobody)["HF_TOKEN_FILE"])
    assert file.read_text() == "canary"
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_programs_read_the_secrets_they_were_given(make_settings: MakeSettings, nobody: Users) -> None:
    environ = {name: f"canary-{name}" for name in SECRET_NAMES}
    assert load(moved(environ, make_settings, nobody)) == load(environ)


def test_a_secret_in_a_file_that_only_root_can_read_reaches_the_programs(
    make_settings: MakeSettings, real_users: Users, open_folder: Path
) -> None:
    given = open_folder / "mine"
    given.write_text("canary\n")
    given.chmod(0o400)
    after = moved({"HF_TOKEN_FILE": str(given)}, make_settings, real_users)

    def read() -> bytes:
        return load(after).hf_token.reveal().encode()

    assert run_within(20, as_user(real_users.suite, read)) == b"canary"


def test_an_empty_secret_makes_no_file(make_settings: MakeSettings, nobody: Users) -> None:
    assert moved({"HF_TOKEN": "", "CIVITAI_TOKEN_FILE": ""}, make_settings, nobody) == {}
    assert list((make_settings().state_dir / "secrets").iterdir()) == []


# The configuration files


def write(config: Settings, nobody: Users) -> Path:
    programs.prepare_state(config, nobody)
    return programs.write_configuration(config, nobody, Path(sys.executable), config.workspace / "output")


def dev_tools_on() -> dict[str, str]:
    ports = free_ports(2)
    return {
        "CODE_SERVER": "on",
        "CODE_SERVER_PORT": str(ports[0]),
        "CODE_SERVER_PROGRAM": sys.executable,
        "JUPYTER": "on",
        "JUPYTER_PORT": str(ports[1]),
        "JUPYTER_PROGRAM": sys.executable,
    }


VARIANTS: dict[str, dict[str, str]] = {
    "defaults": {},
    "hosts": {"ALLOWED_HOSTS": "models.example, *.example.org, x_y.example"},
    "any host": {"ALLOWED_HOSTS": "*"},
    "a pod": {"RUNPOD_POD_ID": "AbC123"},
    "a proxy": {"TRUST_PROXY": "on"},
    "many workers": {"DOWNLOAD_WORKERS": "16"},
    "secrets": dict.fromkeys(SECRET_NAMES, "canary"),
    "the developer's programs": dev_tools_on(),
}


@pytest.mark.parametrize("environ", VARIANTS.values(), ids=VARIANTS)
def test_nginx_takes_its_configuration(environ: dict[str, str], make_settings: MakeSettings, nobody: Users) -> None:
    config = make_settings(**environ)
    write(config, nobody)
    command = ["nginx", "-t", "-e", "stderr", "-c", str(config.state_dir / "nginx" / "nginx.conf")]
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "[warn]" not in result.stderr.replace('the "user" directive makes sense only', "")


SHOW_PROGRAMS = """
import json, sys
from supervisor.datatypes import RestartUnconditionally
from supervisor.options import ServerOptions
options = ServerOptions()
options.realize(args=["-c", sys.argv[1]])
print(json.dumps([
    [group.name, [[p.name, p.command, p.environment or {}, p.autorestart is RestartUnconditionally]
                  for p in group.process_configs]]
    for group in options.process_group_configs
]))
"""


def programs_of(file: Path) -> list[tuple[str, list[tuple[str, str, dict[str, str], bool]]]]:
    """(group, its programs: name, command, environment, is it started again however it ended)"""
    command = [sys.executable, "-c", SHOW_PROGRAMS, str(file)]
    shown = subprocess.run(command, capture_output=True, check=False)
    assert shown.returncode == 0, shown.stderr.decode()
    return msgspec.json.decode(shown.stdout, type=list[tuple[str, list[tuple[str, str, dict[str, str], bool]]]])


@pytest.mark.parametrize("environ", VARIANTS.values(), ids=VARIANTS)
def test_supervisord_takes_its_configuration(
    environ: dict[str, str], make_settings: MakeSettings, nobody: Users
) -> None:
    config = make_settings(**environ)
    # One group: its programs stop together.
    ((group, found),) = programs_of(write(config, nobody))
    assert group == "suite"
    workers = [f"worker-{number}" for number in range(1, config.download_workers + 1)]
    others = ["comfyui", "dashboard", "nginx", "ready", "reconciler", "redis"]
    others += ["code-server", "jupyter"] if config.jupyter else []
    assert sorted(name for name, *_ in found) == sorted([*others, *workers])


def test_what_runs_for_ever_is_started_again_however_it_ended(make_settings: MakeSettings, nobody: Users) -> None:
    ((_, found),) = programs_of(write(make_settings(), nobody))
    started_again = {name for name, _, _, again in found if again}
    assert started_again == {"redis", "nginx", "dashboard", "worker-1", "worker-2", "reconciler"}


@pytest.mark.parametrize("program", ["comfyui", "code-server", "jupyter"])
def test_what_runs_as_comfyuis_user_is_not_told_where_the_secrets_are(
    program: str, make_settings: MakeSettings, nobody: Users
) -> None:
    ((_, found),) = programs_of(write(make_settings(**dev_tools_on()), nobody))
    environment = next(environment for name, _, environment, _ in found if name == program)
    assert {name: environment[f"{name}_FILE"] for name in SECRET_NAMES} == dict.fromkeys(SECRET_NAMES, "")


@pytest.mark.parametrize("environ", [{}, {"JUPYTER": "on", "JUPYTER_PROGRAM": "/nonexistent/jupyter-lab"}])
def test_a_developers_program_that_cannot_run_leaves_no_trace(
    environ: dict[str, str], make_settings: MakeSettings, nobody: Users
) -> None:
    config = make_settings(**environ)
    file = write(config, nobody)
    written = file.read_text() + (config.state_dir / "nginx" / "nginx.conf").read_text()
    assert not {word for word in ("code-server", "jupyter", "7777", "8888") if word in written}
    assert not (config.state_dir / "dev").exists()


def test_the_developers_programs_run_as_comfyuis_user(make_settings: MakeSettings, real_users: Users) -> None:
    separate = replace(real_users, comfyui=real_users.suite and User("nobody", 65534, 65534))
    file = write(make_settings(**dev_tools_on()), separate)
    sections = file.read_text().split("[program:")
    users = {section.partition("]")[0]: re.findall(r"^user = (.*)$", section, re.MULTILINE) for section in sections}
    assert users["code-server"] == users["jupyter"] == users["comfyui"]


def test_no_secret_is_in_a_configuration_file(make_settings: MakeSettings, nobody: Users) -> None:
    config = make_settings(**VARIANTS["secrets"])
    supervisor_file = write(config, nobody)
    assert "canary" not in supervisor_file.read_text()
    assert "canary" not in (config.state_dir / "nginx" / "nginx.conf").read_text()


def test_supervisord_and_redis_listen_on_no_port(make_settings: MakeSettings, nobody: Users) -> None:
    file = write(make_settings(), nobody)
    assert "inet_http_server" not in file.read_text()
    ((_, found),) = programs_of(file)
    assert "--port 0" in next(command for name, command, _, _ in found if name == "redis")


# Who may call it by which name


@pytest.fixture(scope="module")
def nginx_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real nginx with the rendered configuration, and no dashboard behind it."""
    folder = tmp_path_factory.mktemp("nginx")
    ports = free_ports(3)
    config = load(
        {
            "WORKSPACE": str(folder / "workspace"),
            "STATE_DIR": str(folder),
            "DASHBOARD_PORT": str(ports[0]),
            "COMFYUI_PORT": str(ports[1]),
            "COMFYUI_LOOPBACK_PORT": str(ports[2]),
            "ALLOWED_HOSTS": "models.example *.example.org",
            "RUNPOD_POD_ID": "AbC123",
        }
    )
    write(config, Users(None, None, None, ()))
    command = ["nginx", "-e", "stderr", "-c", str(folder / "nginx" / "nginx.conf"), "-g", "daemon off;"]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", ports[0])).close()
                break
            except ConnectionRefusedError:
                assert time.monotonic() < until, "nginx did not start"
                time.sleep(0.02)
        yield ports[0]
    finally:
        process.terminate()
        process.wait(10)


def status_for(port: int, host: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.putrequest("GET", "/", skip_host=True)
        connection.putheader("Host", host)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "LOCALHOST",
        "pod.localhost",
        "127.0.0.1",
        "192.168.1.5:8080",
        "[::1]:8080",
        "models.example",
        "a.example.org",
        "a.b.example.org",
        socket.gethostname(),
    ],
)
def test_a_name_of_ours_is_answered(host: str, nginx_port: int) -> None:
    assert status_for(nginx_port, host) == 503


def test_runpods_name_of_this_pod_is_answered(nginx_port: int) -> None:
    assert status_for(nginx_port, f"abc123-{nginx_port}.proxy.runpod.net") == 503


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "models.example.evil.example",
        "evil-models.example",
        "a.models.example",
        "example.org",
        "evilexample.org",
        "a.example.org.evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127x0x0x1",
        "abc123-1.proxy.runpod.net",
        "other-8080.proxy.runpod.net",
        "xabc123-8080.proxy.runpod.net",
    ],
)
def test_any_other_name_is_misdirected(host: str, nginx_port: int) -> None:
    assert status_for(nginx_port, host) == 421
