"""Fills in `supervisord.conf` and `nginx/nginx.conf`, and prepares the folders their programs use."""

import os
import re
import resource
import secrets
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bootstrap import dev_tools
from bootstrap.folders import make_folder
from bootstrap.users import User, Users
from services.dev_tools import DevTool, installed, sockets_dir, switched_on
from services.settings import APP_DIR, SECRET_NAMES, Settings
from services.volume import VolumeReport
from services.workspace import Workspace, write_atomic

_PLACEHOLDER = re.compile(r"@([a-z_]+)@")
# sockaddr_un.sun_path, without its final zero (unix(7)).
SOCKET_PATH_MAX_BYTES = 107
# supervisord binds its socket under a name with its own pid behind it, and renames it (supervisor.http).
SUPERVISOR_SUFFIX = ".4194304"
WANTED_OPEN_FILES = 16384
CONNECTIONS = 4096


class CannotStart(Exception):
    """supervisord could not do its work; the message says what to change."""


def fill_in(template: str, values: Mapping[str, str]) -> str:
    """`template` with every @name@ replaced. Raises KeyError for a name that has no value."""
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template)


def prepare_state(settings: Settings, users: Users) -> None:
    """The container's own folders, each with the user that writes there. Raises CannotStart."""
    longest = f"{settings.supervisor_socket}{SUPERVISOR_SUFFIX}"
    if len(os.fsencode(longest)) > SOCKET_PATH_MAX_BYTES:
        raise CannotStart(f"STATE_DIR={settings.state_dir} is too long for a socket's path: choose a shorter one")
    suite, comfyui = users.suite, users.comfyui
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        make_folder(settings.state_dir, ".", suite, 0o755)
        for name, owner, mode in (
            ("sockets", suite, 0o700),
            ("secrets", suite, 0o700),
            ("redis", suite, 0o700),
            ("nginx", suite, 0o700),
            ("dashboard", suite, 0o700),
            ("logs", suite, 0o755),
            ("comfyui", comfyui, 0o2775),
        ):
            make_folder(settings.state_dir, name, owner, mode)
        if installed(settings):
            # Both users are in the group, nobody else is.
            make_folder(settings.state_dir, sockets_dir(settings).name, comfyui, 0o2770)
        for left_over in settings.sockets_dir.iterdir():
            # Of programs that were killed: a socket that is there says that someone listens.
            left_over.unlink()
    except OSError as error:
        raise CannotStart(
            f"STATE_DIR={settings.state_dir} cannot be used: {error.strerror} ({error.filename})"
        ) from None
    _make_in_comfyuis(settings, "home", comfyui, 0o700)


def check_alone(settings: Settings) -> None:
    """Raises CannotStart when a suite runs from the same STATE_DIR: two would take each other's sockets away."""
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(str(settings.supervisor_socket))
        except OSError:
            return
    raise CannotStart(f"a suite runs from STATE_DIR={settings.state_dir} already: stop it, or set STATE_DIR to another")


def check_temporary() -> None:
    """Raises CannotStart when no folder for temporary files can be written: supervisord and ComfyUI need one."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        message = "no folder for temporary files can be written: mount one (docker run --tmpfs /tmp:exec)"
        raise CannotStart(message) from None


def check_ports(settings: Settings) -> None:
    """Raises CannotStart, naming every port that someone else has."""
    taken = []
    for name, host, port in (
        ("DASHBOARD_PORT", "", settings.dashboard_port),
        ("COMFYUI_PORT", "", settings.comfyui_port),
        ("COMFYUI_LOOPBACK_PORT", "127.0.0.1", settings.comfyui_loopback_port),
        *((tool.port_setting, "", tool.port) for tool in switched_on(settings)),
    ):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except PermissionError:
                taken.append(f"port {port} may only be opened by root: set {name} to one above 1023")
            except OSError as error:
                taken.append(
                    f"port {port} cannot be opened ({error.strerror}): stop what uses it, or set {name} to another"
                )
    if taken:
        raise CannotStart("\n".join(taken))


def write_configuration(settings: Settings, users: Users, python: Path, output_dir: Path) -> Path:
    """Writes both files; the path of supervisord's."""
    values = {
        "app_dir": str(APP_DIR),
        "state_dir": str(settings.state_dir),
        "sockets_dir": str(settings.sockets_dir),
        "python": str(python),
        "after_dashboard": f"{APP_DIR}/bootstrap/after-dashboard {settings.dashboard_socket}",
        "dashboard_port": str(settings.dashboard_port),
        "download_workers": str(settings.download_workers),
        "output_dir": str(output_dir),
        "temp_dir": str(settings.state_dir / "comfyui" / "temp"),
        "cache_dir": str(Workspace(settings.workspace).thumbnails.parent),
        "as_suite": _run_as(users.suite),
        "as_comfyui": _run_as(users.comfyui),
        # Started as root, nginx would give its workers away to a user that cannot reach our sockets.
        "as_nginx": "user root;" if os.geteuid() == 0 and users.suite is None else "",
        # supervisord warns when it runs as root without having been told to.
        "as_supervisor": "user = root" if os.geteuid() == 0 else "",
        "supervisor_password": _supervisor_password(settings, users),
        "socket_owner": f"chown = {users.suite.name}:{users.group}" if users.suite else "",
        # ComfyUI's user cannot read the files these name, and has no use for them.
        "no_secrets": ",".join(f'{name}_FILE=""' for name in SECRET_NAMES),
        **_nginx_values(settings),
    }
    for problem in dev_tools.problems(settings, users):
        print(problem, flush=True)
    tools = dev_tools.startable(settings, users)
    values |= {
        "behind_login": _behind_login(settings, tools, values),
        "dev_names": "".join(f", {tool.name}" for tool in tools),
        "dev_programs": "".join(
            _filled_in(dev_tools.SUPERVISOR_TEMPLATE, {**values, "name": tool.name}) for tool in tools
        ),
    }
    supervisor_file = settings.state_dir / "supervisord.conf"
    for template, target in (
        (APP_DIR / "supervisord.conf", supervisor_file),
        (APP_DIR / "nginx" / "nginx.conf", settings.state_dir / "nginx" / "nginx.conf"),
    ):
        _write_private(target, _filled_in(template, values).encode(), users.suite)
    return supervisor_file


def _supervisor_password(settings: Settings, users: Users) -> str:
    password = secrets.token_hex(16)
    _write_private(settings.supervisor_password_file, password.encode(), users.suite)
    return password


def _write_private(file: Path, content: bytes, owner: User | None) -> None:
    write_atomic(file, content, mode=0o600)
    if owner:
        os.chown(file, owner.uid, owner.gid)


def comfyui_directories(settings: Settings, report: VolumeReport, users: Users) -> dict[str, Path]:
    """Where ComfyUI writes: on the volume, or beside it while the volume cannot be written."""
    workspace = Workspace(settings.workspace)
    if report.writable:
        return {"output": workspace.output, "input": workspace.input, "user": workspace.user}
    local = {name: settings.state_dir / "comfyui" / name for name in ("output", "input", "user")}
    for name in local:
        _make_in_comfyuis(settings, name, users.comfyui, 0o2775)
    return local


def _make_in_comfyuis(settings: Settings, name: str, owner: User | None, mode: int) -> None:
    """A folder in the one that is ComfyUI's own: what a custom node left in its place must not stop the boot."""
    try:
        make_folder(settings.state_dir / "comfyui", name, owner, mode)
    except OSError as error:
        print(f"{settings.state_dir}/comfyui/{name} could not be made: {error.strerror}", flush=True)


def raise_open_files() -> int:
    """As many open files as the machine allows, up to what a thousand watchers need; the new limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_OPEN_FILES if hard == resource.RLIM_INFINITY else min(WANTED_OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def move_secrets_to_files(environ: dict[str, str], settings: Settings, users: Users) -> None:
    """Replaces each secret in `environ` by the name of a file that only the suite's user can read: what is in the
    environment, every child has and /proc shows, and a file that was given may be root's alone."""
    for name, secret in settings.secrets.items():
        environ.pop(name, None)
        environ.pop(f"{name}_FILE", None)
        if secret:
            file = settings.state_dir / "secrets" / name
            _write_private(file, secret.reveal().encode(), users.suite)
            environ[f"{name}_FILE"] = str(file)


def _nginx_values(settings: Settings) -> dict[str, str]:
    open_files = raise_open_files()
    names = ["localhost", "*.localhost", socket.gethostname().lower(), *settings.allowed_hosts]
    if settings.runpod_pod_id:
        pod = settings.runpod_pod_id.lower()
        ports = [settings.dashboard_port, settings.comfyui_port, *(tool.port for tool in installed(settings))]
        names += [f"{pod}-{port}.proxy.runpod.net" for port in ports]
    # Rebinding needs a name: an address is always what it says.
    patterns = [r"~^\d+\.\d+\.\d+\.\d+$", r"~^\[[0-9a-f:.]+\]$", *map(_host_pattern, names)]
    return {
        "open_files": str(open_files),
        # Two a socket: one to the browser, one to the dashboard. nginx sets the memory aside for all of them.
        "connections": str(min(open_files // 2, CONNECTIONS)),
        "known_hosts": "\n".join(f'        "{pattern}" 1;' for pattern in dict.fromkeys(patterns)),
        "trusted_schemes": "        https https;\n        http  http;" if settings.behind_proxy else "",
        "trusted_addresses": "    set_real_ip_from 0.0.0.0/0;\n    real_ip_header X-Forwarded-For;"
        if settings.behind_proxy
        else "",
    }


def _behind_login(settings: Settings, tools: tuple[DevTool, ...], values: Mapping[str, str]) -> str:
    """A server of nginx for ComfyUI and for each of `tools`: all that they have in common stands in one template."""
    comfyui = {
        "name": "comfyui",
        "title": "ComfyUI",
        "port": str(settings.comfyui_port),
        "address": f"127.0.0.1:{settings.comfyui_loopback_port}",
        "page": "comfyui-starting.html",
        "error_type": "comfyui_unavailable",
        # The dashboard has judged the origin. ComfyUI would judge again, by the wrong host.
        "origin_headers": _emptied("Origin", "Sec-Fetch-Site"),
    }
    others = [
        {
            "name": tool.name,
            "title": tool.title,
            "port": str(tool.port),
            "address": f"unix:{tool.socket}",
            "page": "dev-tool-starting.html",
            "error_type": "unavailable",
            # These judge the origin again by the host in the browser's address, which they believe of the first.
            "origin_headers": _emptied("Forwarded", "X-Forwarded-Host"),
        }
        for tool in tools
    ]
    template = APP_DIR / "nginx" / "behind-login.conf"
    return "\n".join(_filled_in(template, {**values, **server}) for server in (comfyui, *others))


def _emptied(*headers: str) -> str:
    return "\n".join(f'            proxy_set_header {header} "";' for header in headers)


def _filled_in(template: Path, values: Mapping[str, str]) -> str:
    return fill_in(template.read_text(encoding="utf-8"), values)


def _host_pattern(name: str) -> str:
    if name == "*":
        return "~."
    if name.startswith("*"):
        return "~" + re.escape(name.lstrip("*")) + "$"
    return name


def _run_as(user: User | None) -> str:
    return f"user = {user.name}" if user else ""
