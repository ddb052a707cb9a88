"""`python -m bootstrap.dev_tools NAME`: what supervisord starts as code-server and as JupyterLab.

Both are shells for whoever is signed in, so they run as ComfyUI's user and in its environment, which has no secret in
it. They ask for no login of their own: nginx does, and their sockets can be reached by nobody else but that user.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import msgspec

from bootstrap import comfyui
from bootstrap.comfyui import Launch
from bootstrap.users import Users
from services import dev_tools, settings
from services.dev_tools import DevTool
from services.settings import APP_DIR, Settings

SUPERVISOR_TEMPLATE = APP_DIR / "bootstrap" / "dev-tool.conf"
SHELL = "/bin/bash"
# A kernel has so long to end by itself; supervisord waits longer.
KERNEL_STOP_SECONDS = 2.0


def startable(settings: Settings, users: Users) -> tuple[DevTool, ...]:
    """Those that are on and installed; none where root could not give ComfyUI a user of its own: they are shells."""
    return () if _shares_user(users) else dev_tools.installed(settings)


def _shares_user(users: Users) -> bool:
    return os.geteuid() == 0 and (users.suite is None or users.suite == users.comfyui) and bool(users.missing)


def problems(settings: Settings, users: Users) -> list[str]:
    """A sentence for each tool that is on and cannot be started."""
    startable_ones = startable(settings, users)
    return [
        f"{tool.switch}=on, but {tool.title} is not started as the user who can read the suite's secrets"
        if tool.is_installed
        else f"{tool.switch}=on, but {tool.program} is not there: only the dev image has it, the rest runs without it"
        for tool in dev_tools.switched_on(settings)
        if tool not in startable_ones
    ]


def main() -> NoReturn:
    config = settings.from_environment()
    (name,) = sys.argv[1:]
    tool = next(tool for tool in dev_tools.switched_on(config) if tool.name == name)
    launch = msgspec.json.decode(comfyui.launch_file(config).read_bytes(), type=Launch)
    command = arguments(tool, config, launch)
    own = environment(config, launch)
    # nginx comes as another user of the same group, and so do those who made the volume's other files.
    os.umask(0o002)
    notebooks_dir(launch).mkdir(parents=True, exist_ok=True)
    os.chdir(working_dir(config, launch))
    os.execve(command[0], command, own)


def working_dir(config: Settings, launch: Launch) -> Path:
    """The volume, unless it could not be used at the boot: a program in a folder that hangs would hang with it."""
    if Path(launch.user).is_relative_to(config.workspace):
        return config.workspace
    return config.state_dir / "comfyui" / "home"


def notebooks_dir(launch: Launch) -> Path:
    """Where JupyterLab opens: the volume's root need not be writable for ComfyUI's user."""
    return Path(launch.user) / "notebooks"


def arguments(tool: DevTool, config: Settings, launch: Launch) -> list[str]:
    build = {"code-server": _code_server, "jupyter": _jupyter}[tool.name]
    return [str(tool.program), *build(tool, config, launch)]


def environment(config: Settings, launch: Launch) -> Mapping[str, str]:
    """ComfyUI's, and where they keep what they are told. A terminal finds ComfyUI's `python` first."""
    own = comfyui.environment(config)
    # IPython would put its packages before those that the kernel itself needs.
    del own["VIRTUAL_ENV"]
    return {
        **own,
        "SHELL": SHELL if Path(SHELL).exists() else "/bin/sh",
        "JUPYTER_CONFIG_DIR": f"{launch.user}/jupyter",
        "JUPYTER_DATA_DIR": f"{launch.user}/jupyter/data",
        "JUPYTER_RUNTIME_DIR": str(dev_tools.sockets_dir(config) / "jupyter"),
    }


def _code_server(tool: DevTool, config: Settings, launch: Launch) -> list[str]:
    data = Path(launch.user) / "code-server"
    return [
        *("--socket", str(tool.socket), "--socket-mode", "0660"),
        # On the container's own disk: not every volume can hold a socket.
        *("--session-socket", str(tool.socket.with_suffix(".session"))),
        *("--auth", "none", "--config", str(data / "config.yaml")),
        *("--user-data-dir", str(data), "--extensions-dir", str(data / "extensions")),
        "--disable-telemetry",
        "--disable-update-check",
        # Would lead to every port of the machine, also to those that are not behind the login's origin check.
        "--disable-proxy",
        "--disable-getting-started-override",
        str(working_dir(config, launch)),
    ]


def _jupyter(tool: DevTool, config: Settings, launch: Launch) -> list[str]:
    notebooks = notebooks_dir(launch)
    return [
        "--no-browser",
        # Only where the suite has no users of its own.
        *(["--allow-root"] if os.geteuid() == 0 else []),
        f"--ServerApp.sock={tool.socket}",
        "--ServerApp.sock_mode=0660",
        f"--ServerApp.root_dir={working_dir(config, launch)}",
        *([f"--ServerApp.preferred_dir={notebooks}"] if notebooks.is_relative_to(working_dir(config, launch)) else []),
        "--IdentityProvider.token=",
        # nginx knows the names this machine has; the dashboard has judged the origin of whatever changes something,
        # and no cookie comes through for a second look.
        "--ServerApp.allow_remote_access=True",
        "--ServerApp.disable_check_xsrf=True",
        "--ServerApp.quit_button=False",
        f"--KernelManager.shutdown_wait_time={KERNEL_STOP_SECONDS}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ]


if __name__ == "__main__":
    main()
