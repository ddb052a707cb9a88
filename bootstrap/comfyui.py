"""`python -m bootstrap.comfyui`: what supervisord starts as ComfyUI. Counts the start, then becomes ComfyUI.

ComfyUI and its custom nodes get an environment of their own: no secret, no address of ours is in it.
"""

import os
import sys
from pathlib import Path
from typing import NoReturn

import msgspec
from msgspec import Struct

from services import settings
from services.comfyui_starts import MAX_STARTS, WINDOW_SECONDS, StartLedger
from services.gpus import Gpus
from services.settings import Settings
from services.workspace import Workspace, write_atomic

# sysexits.h's EX_CONFIG; supervisord.conf lists it as an exit after which nothing is started again.
GAVE_UP = 78

# What a program needs of the machine it runs on: paths of the driver, proxies, the locale, the clock.
PASSED_ON = (
    *("LANG", "LC_", "TZ", "TERM", "NVIDIA_", "CUDA_", "LD_LIBRARY_PATH", "OMP_", "MKL_", "PYTORCH_"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_", "REQUESTS_CA_BUNDLE"),
)
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Launch(Struct, frozen=True):
    """What bootstrap found out about the volume and ComfyUI has to be told."""

    model_paths: str
    output: str
    input: str
    user: str


def launch_file(settings: Settings) -> Path:
    # Not in ComfyUI's own folder: bootstrap writes it as root, and custom nodes have no business with it.
    return settings.state_dir / "launch.json"


def write_launch(settings: Settings, launch: Launch) -> None:
    write_atomic(launch_file(settings), msgspec.json.encode(launch), mode=0o644)


def main() -> int:
    """Returns only when ComfyUI must not or cannot be started."""
    config = settings.from_environment()
    if not config.comfyui_python.exists() or not (config.comfyui_dir / "main.py").exists():
        print(
            f"ComfyUI is not installed: {config.comfyui_dir}/main.py or {config.comfyui_python} is missing", flush=True
        )
        return GAVE_UP
    ledger = StartLedger(config.state_dir).begin()
    if ledger.gave_up:
        print(
            f"ComfyUI was started {MAX_STARTS} times within {WINDOW_SECONDS / 60:.0f} minutes and is not started "
            "again. The lines above say why it ended. Try again, or without custom nodes, from the dashboard.",
            flush=True,
        )
        return GAVE_UP
    return _become_comfyui(config, safe_mode=ledger.safe_mode)


def _become_comfyui(config: Settings, *, safe_mode: bool) -> NoReturn:
    launch = msgspec.json.decode(launch_file(config).read_bytes(), type=Launch)
    command = arguments(config, launch, safe_mode=safe_mode, cpu=_on_cpu(config))
    os.umask(0o002)
    os.chdir(config.comfyui_dir)
    os.execve(command[0], command, environment(config))


def arguments(config: Settings, launch: Launch, *, safe_mode: bool, cpu: bool) -> list[str]:
    command = [
        str(config.comfyui_python),
        "main.py",
        *("--listen", "127.0.0.1", "--port", str(config.comfyui_loopback_port)),
        *("--extra-model-paths-config", launch.model_paths),
        *("--output-directory", launch.output),
        *("--input-directory", launch.input),
        *("--user-directory", launch.user),
        # ComfyUI empties <this>/temp at every start.
        *("--temp-directory", str(config.state_dir / "comfyui")),
        *("--database-url", f"sqlite:///{launch.user}/comfyui.db"),
        *("--preview-method", "auto"),
        "--disable-auto-launch",
    ]
    if cpu:
        command.append("--cpu")
    if config.comfyui_manager and has_manager(config):
        command.append("--enable-manager")
    if safe_mode:
        command.append("--disable-all-custom-nodes")
    return [*command, *config.comfyui_args]


def has_manager(config: Settings) -> bool:
    """Whether this ComfyUI knows the option, and its environment holds the Manager's package."""
    packages = config.comfyui_python.parent.parent.glob("lib/python3.*/site-packages/comfyui_manager")
    return (config.comfyui_dir / "manager_requirements.txt").exists() and any(packages)


def environment(config: Settings) -> dict[str, str]:
    cache = Workspace(config.workspace).cache
    own = settings.environment_for_programs()
    return {
        **{name: value for name, value in own.items() if name.startswith(PASSED_ON)},
        "PATH": f"{config.comfyui_python.parent}:{PATH}",
        "VIRTUAL_ENV": str(config.comfyui_python.parent.parent),
        "HOME": str(config.state_dir / "comfyui" / "home"),
        # A container may be told to run as a user that its /etc/passwd does not know.
        "USER": config.comfyui_user,
        "HF_HOME": str(cache / "huggingface"),
        "PIP_CACHE_DIR": str(cache / "pip"),
        "UV_CACHE_DIR": str(cache / "uv"),
        "PYTHONUNBUFFERED": "1",
    }


def _on_cpu(config: Settings) -> bool:
    return config.comfyui_device == "cpu" or (config.comfyui_device == "auto" and not Gpus())


if __name__ == "__main__":
    sys.exit(main())
