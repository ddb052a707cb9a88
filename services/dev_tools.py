"""The developer's programs, each on a port of its own behind the login: which there are, and which of them are on."""

from dataclasses import dataclass
from pathlib import Path

from services.settings import Settings


@dataclass(frozen=True)
class DevTool:
    """`name` is that of its process and of its socket; `switch` and `port_setting` are the settings' names."""

    name: str
    title: str
    switch: str
    port_setting: str
    port: int
    program: Path
    socket: Path

    @property
    def is_installed(self) -> bool:
        return self.program.exists()


def switched_on(settings: Settings) -> tuple[DevTool, ...]:
    """Those that are asked for, installed or not."""
    tools = []
    if settings.code_server:
        tools.append(
            DevTool(
                "code-server",
                "code-server",
                "CODE_SERVER",
                "CODE_SERVER_PORT",
                settings.code_server_port,
                settings.code_server_program,
                sockets_dir(settings) / "code-server.sock",
            )
        )
    if settings.jupyter:
        tools.append(
            DevTool(
                "jupyter",
                "JupyterLab",
                "JUPYTER",
                "JUPYTER_PORT",
                settings.jupyter_port,
                settings.jupyter_program,
                sockets_dir(settings) / "jupyter.sock",
            )
        )
    return tuple(tools)


def installed(settings: Settings) -> tuple[DevTool, ...]:
    """Those that are asked for and can be started."""
    return tuple(tool for tool in switched_on(settings) if tool.is_installed)


def sockets_dir(settings: Settings) -> Path:
    """Not with the suite's own sockets: these programs run as ComfyUI's user, who must not get in there."""
    return settings.state_dir / "dev"
