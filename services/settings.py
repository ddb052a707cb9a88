"""The environment, read once, checked as a whole.

Nothing else in the suite looks at `os.environ`. `docs/settings.md` has a row for each setting; a test holds it to that.
"""

import dataclasses
import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from services.errors import InvalidSettings

APP_DIR = Path(__file__).resolve().parent.parent
# Where a container has its volume.
DEFAULT_WORKSPACE = "/workspace"


class Secret:
    """A value that never shows in a `repr`, a log line or a traceback; `reveal()` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')" if self._value else "Secret('')"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True)
class Hours:
    """A part of every day, which may pass midnight; `end` is the first minute that is not in it."""

    start: time
    end: time

    def include(self, moment: time) -> bool:
        if self.start < self.end:
            return self.start <= moment < self.end
        return moment >= self.start or moment < self.end

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"


def _hours(text: str) -> Hours | None:
    """None: all day."""
    if not text:
        return None
    found = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)\s*-\s*([01]\d|2[0-3]):([0-5]\d)", text, re.ASCII)
    if found is None or found.group(1, 2) == found.group(3, 4):
        raise ValueError("say two different times, such as 08:00-23:30")
    start_hour, start_minute, end_hour, end_minute = map(int, found.groups())
    return Hours(time(start_hour, start_minute), time(end_hour, end_minute))


def _switch(text: str) -> bool:
    if text.lower() in {"on", "1", "true", "yes"}:
        return True
    if text.lower() in {"off", "0", "false", "no"}:
        return False
    raise ValueError("say on or off")


def _whole_number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"-?\d+", text) or not low <= int(text) <= high:
            raise ValueError(f"say a whole number from {low} to {high}")
        return int(text)

    return parse


def _optional_number(low: int, high: int) -> Callable[[str], int | None]:
    parse = _whole_number(low, high)
    return lambda text: parse(text) if text else None


def _choice(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"say one of {', '.join(names)}")
        return text

    return parse


def _absolute_path(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ValueError("say an absolute path")
    if re.search(r"[\s'\"\\%;{}#$@]", text):
        raise ValueError("spaces, quotes and the characters % ; { } # $ @ cannot be used in it")
    return path


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[\s,]+", text) if word)


def _host_names(text: str) -> tuple[str, ...]:
    names = _words(text.lower())
    for name in names:
        if name != "*" and not re.fullmatch(r"\*?[a-z0-9._-]+", name):
            raise ValueError(f"'{name}' is not a host name (no scheme, no port; *.example.com for all below it)")
    return names


def _origins(text: str) -> tuple[str, ...]:
    origins = _words(text)
    for origin in origins:
        if not re.fullmatch(r"https?://[^/\s]+", origin):
            raise ValueError(f"'{origin}' is not an origin such as https://example.com")
    return origins


def _address(text: str) -> str:
    # urlsplit raises ValueError for what only looks like a host or a port.
    if text and not (re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", text) and urlsplit(text).port != 0):
        raise ValueError("say an address that starts with http:// or https://, without a query")
    return text.rstrip("/")


def _proxy(text: str) -> Secret:
    """The whole address of a proxy: it may hold a password, so no message repeats any of it."""
    address = text if "://" in text or not text else f"http://{text}"
    try:
        parts = urlsplit(address)
        is_bare = parts.path in {"", "/"} and not parts.query and not parts.fragment
        usable = (
            is_bare and parts.port != 0 and re.fullmatch(r"[a-z0-9._-]+|[0-9a-f.]*:[0-9a-f:.]*", parts.hostname or "")
        )
    except ValueError:
        usable = False
    if address and not address.lower().startswith("http://"):
        raise ValueError("only a proxy that is spoken to in plain http can be used: http://host:port")
    if address and not usable:
        raise ValueError("say http://host:port or http://user:password@host:port, the password percent-encoded")
    return Secret(address)


def token(text: str) -> Secret:
    """A hub's token, as it stands in a header; empty for none. Raises ValueError, which does not repeat it."""
    if not re.fullmatch(r"[!-~]*", text.strip()):
        raise ValueError("the token holds spaces, line breaks or other characters that no token has: copy it anew")
    return Secret(text.strip())


def _pod_id(text: str) -> str:
    # It becomes a folder of the volume and part of a host name in nginx's configuration.
    if not re.fullmatch(r"[A-Za-z0-9-]*", text):
        raise ValueError("letters, digits and dashes only")
    return text


def _user_name(text: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_-]*", text):
        raise ValueError("say a user name")
    return text


def _arguments(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"unbalanced quotes ({error})") from None


def _setting(name: str, default: str, parse: Callable[[str], Any], description: str) -> Any:
    return field(metadata={"name": name, "default": default, "parse": parse, "description": description})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One field per environment variable. Secrets may also be given as a file, in `NAME_FILE`."""

    workspace: Path = _setting(
        "WORKSPACE", DEFAULT_WORKSPACE, _absolute_path, "The volume: models, outputs, workflows."
    )
    state_dir: Path = _setting(
        "STATE_DIR",
        "/var/lib/suite",
        _absolute_path,
        "Sockets, the queue and logs of this container; not on the volume.",
    )
    dashboard_port: int = _setting(
        "DASHBOARD_PORT", "8080", _whole_number(1, 65535), "Port of the dashboard and the API."
    )
    comfyui_port: int = _setting(
        "COMFYUI_PORT", "3000", _whole_number(1, 65535), "Port of ComfyUI, behind the same login."
    )
    comfyui_loopback_port: int = _setting(
        "COMFYUI_LOOPBACK_PORT", "8188", _whole_number(1024, 65535), "Where ComfyUI itself listens, on 127.0.0.1 only."
    )
    comfyui_url: str = _setting(
        "COMFYUI_URL",
        "",
        _address,
        "Address of ComfyUI as the browser sees it; worked out from the request when empty.",
    )
    comfyui_dir: Path = _setting("COMFYUI_DIR", "/app/comfyui", _absolute_path, "The ComfyUI source tree.")
    comfyui_python: Path = _setting(
        "COMFYUI_PYTHON", "/app/venv/bin/python", _absolute_path, "The Python that runs ComfyUI, in a venv of its own."
    )
    comfyui_args: tuple[str, ...] = _setting(
        "COMFYUI_ARGS", "", _arguments, "Further arguments for ComfyUI, such as --disable-api-nodes."
    )
    comfyui_manager: bool = _setting(
        "COMFYUI_MANAGER", "on", _switch, "on: ComfyUI-Manager, where ComfyUI's environment holds it, as in the image."
    )
    comfyui_device: str = _setting(
        "COMFYUI_DEVICE", "auto", _choice("auto", "cpu", "gpu"), "auto: --cpu when no NVIDIA GPU is found."
    )
    code_server: bool = _setting(
        "CODE_SERVER", "off", _switch, "on: code-server, an editor and a shell, behind the same login (dev image)."
    )
    code_server_port: int = _setting("CODE_SERVER_PORT", "7777", _whole_number(1, 65535), "Port of code-server.")
    code_server_program: Path = _setting(
        "CODE_SERVER_PROGRAM", "/opt/code-server/bin/code-server", _absolute_path, "What starts code-server."
    )
    jupyter: bool = _setting(
        "JUPYTER", "off", _switch, "on: JupyterLab, notebooks and a shell, behind the same login (dev image)."
    )
    jupyter_port: int = _setting("JUPYTER_PORT", "8888", _whole_number(1, 65535), "Port of JupyterLab.")
    jupyter_program: Path = _setting(
        "JUPYTER_PROGRAM", "/opt/jupyter/bin/jupyter-lab", _absolute_path, "What starts JupyterLab."
    )
    auth: bool = _setting("AUTH", "on", _switch, "off lets anyone who reaches the ports do everything.")
    dashboard_password: Secret = _setting(
        "DASHBOARD_PASSWORD", "", Secret, "The password of the login. One is made and kept on the volume when empty."
    )
    allowed_hosts: tuple[str, ...] = _setting(
        "ALLOWED_HOSTS",
        "",
        _host_names,
        "Host names under which the suite may be reached, beside localhost, addresses and RunPod's own; * for any.",
    )
    cors_origins: tuple[str, ...] = _setting(
        "CORS_ORIGINS", "", _origins, "Origins of other sites that may call the API."
    )
    trust_proxy: bool = _setting(
        "TRUST_PROXY", "off", _switch, "on: believe X-Forwarded-For and X-Forwarded-Proto. On RunPod it always is."
    )
    runpod_pod_id: str = _setting("RUNPOD_POD_ID", "", _pod_id, "Set by RunPod.")
    download_workers: int = _setting(
        "DOWNLOAD_WORKERS", "2", _whole_number(1, 16), "How many files download at a time."
    )
    download_private_hosts: bool = _setting(
        "DOWNLOAD_PRIVATE_HOSTS",
        "off",
        _switch,
        "on: models may also come over plain http and from addresses inside the own network.",
    )
    download_max_bytes_per_second: int = _setting(
        "DOWNLOAD_MAX_BYTES_PER_SECOND",
        "0",
        _whole_number(0, 10**12),
        "How fast all downloads together may be; 0 for as fast as they can.",
    )
    download_limit_hours: Hours | None = _setting(
        "DOWNLOAD_LIMIT_HOURS", "", _hours, "When that limit holds, such as 08:00-23:30; always when empty."
    )
    hf_token: Secret = _setting(
        "HF_TOKEN", "", token, "Hugging Face token, for gated models; sent to huggingface.co only."
    )
    hf_endpoint: str = _setting("HF_ENDPOINT", "", _address, "A mirror that answers in place of huggingface.co.")
    civitai_token: Secret = _setting("CIVITAI_TOKEN", "", token, "Civitai token; sent to civitai.com only.")
    http_proxy: Secret = _setting(
        "HTTP_PROXY", "", _proxy, "The proxy for downloads from http addresses: http://host:port."
    )
    https_proxy: Secret = _setting(
        "HTTPS_PROXY", "", _proxy, "The proxy for downloads from https addresses: http://host:port."
    )
    all_proxy: Secret = _setting("ALL_PROXY", "", _proxy, "The proxy for those of the two that have none of their own.")
    no_proxy: tuple[str, ...] = _setting(
        "NO_PROXY", "", _words, "Hosts, domains and networks that are reached without a proxy; * for all."
    )
    preset_download: tuple[str, ...] = _setting(
        "PRESET_DOWNLOAD",
        "",
        _words,
        "Ids of presets to install in the background at start, such as SD15,SDXL_BASE.",
    )
    disk_reserve_bytes: int = _setting(
        "DISK_RESERVE_BYTES", "1000000000", _whole_number(0, 10**15), "Space that downloads leave free on the volume."
    )
    legacy_symlinks: bool = _setting(
        "LEGACY_SYMLINKS", "off", _switch, "on: /workspace/ComfyUI/{models,output,input} point to their new places."
    )
    suite_user: str = _setting("SUITE_USER", "suite", _user_name, "As root: the user that runs everything but ComfyUI.")
    comfyui_user: str = _setting("COMFYUI_USER", "comfyui", _user_name, "As root: the user that runs ComfyUI.")
    puid: int | None = _setting(
        "PUID",
        "",
        _optional_number(1, 2**31 - 2),
        "As root: the number of the user that models and settings belong to.",
    )
    pgid: int | None = _setting(
        "PGID", "", _optional_number(1, 2**31 - 2), "As root: the number of the group that all files belong to."
    )
    workspace_group: str = _setting("WORKSPACE_GROUP", "workspace", _user_name, "As root: the group both users share.")
    log_level: str = _setting("LOG_LEVEL", "info", _choice("debug", "info", "warning", "error"), "How much is logged.")

    @property
    def sockets_dir(self) -> Path:
        return self.state_dir / "sockets"

    @property
    def redis_socket(self) -> Path:
        return self.sockets_dir / "redis.sock"

    @property
    def dashboard_socket(self) -> Path:
        return self.sockets_dir / "dashboard.sock"

    @property
    def supervisor_socket(self) -> Path:
        return self.sockets_dir / "supervisor.sock"

    @property
    def supervisor_password_file(self) -> Path:
        return self.sockets_dir / "supervisor.password"

    @property
    def doorbell_socket(self) -> Path:
        return self.sockets_dir / "reconciler.sock"

    @property
    def logs_dir(self) -> Path:
        """Pods that share a volume keep their logs apart."""
        return self.workspace / "logs" / self.runpod_pod_id if self.runpod_pod_id else self.workspace / "logs"

    @property
    def behind_proxy(self) -> bool:
        return self.trust_proxy or bool(self.runpod_pod_id)

    @property
    def secrets(self) -> dict[str, Secret]:
        """Every secret by the name of its setting, also the empty ones."""
        items = dataclasses.fields(self)
        return {item.metadata["name"]: getattr(self, item.name) for item in items if _has_file(item)}


def _has_file(item: "dataclasses.Field[Any]") -> bool:
    """Whether the setting may also be given as a file."""
    return item.metadata["parse"] in {Secret, token}


SECRET_NAMES = tuple(item.metadata["name"] for item in dataclasses.fields(Settings) if _has_file(item))
# Every other program knows them by both spellings, and most prefer the small one.
_ALSO_IN_SMALL = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"})


def from_environment() -> Settings:
    """The settings of this process. Raises InvalidSettings."""
    return load(os.environ)


def environment_for_programs() -> dict[str, str]:
    """A copy of the environment, for what bootstrap starts."""
    return dict(os.environ)


def load(environ: Mapping[str, str]) -> Settings:
    """Settings from `environ`; an empty value counts as not set.

    Raises InvalidSettings with every bad value at once, each by name.
    """
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for item in dataclasses.fields(Settings):
        name, parse = item.metadata["name"], item.metadata["parse"]
        if name in _ALSO_IN_SMALL and environ.get(name.lower(), "").strip():
            name = name.lower()
        try:
            text = _secret_text(name, environ) if _has_file(item) else environ.get(name, "").strip()
            values[item.name] = parse(text or item.metadata["default"])
        except (ValueError, OSError) as error:
            problems[name] = str(error)
    ports = [values[name] for name in ("dashboard_port", "comfyui_port", "comfyui_loopback_port") if name in values]
    if len(set(ports)) < len(ports):
        problems.setdefault("COMFYUI_PORT", "DASHBOARD_PORT, COMFYUI_PORT and COMFYUI_LOOPBACK_PORT must differ")
    for switch in ("code_server", "jupyter"):
        port = values.get(f"{switch}_port")
        if values.get(switch) and port in ports:
            problems.setdefault(f"{switch.upper()}_PORT", f"{port} is the port of another program already")
        ports += [port] if values.get(switch) else []
    if problems:
        lines = [f"{name}: {problem}" for name, problem in problems.items()]
        raise InvalidSettings("\n".join(lines), {"problems": problems})
    return Settings(**values)


def _secret_text(name: str, environ: Mapping[str, str]) -> str:
    """The secret itself, or what the file named by `NAME_FILE` holds, without the line's end."""
    given, path = environ.get(name, "").strip(), environ.get(f"{name}_FILE", "").strip()
    if given or not path:
        return given
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name}_FILE={path} cannot be read: {error}") from None


def described() -> list[tuple[str, str, str, bool]]:
    """(name, default, description, is it a secret) of each setting, in the order of the class."""
    return [
        (
            f.metadata["name"],
            f.metadata["default"],
            f.metadata["description"],
            _has_file(f) or f.metadata["parse"] is _proxy,
        )
        for f in dataclasses.fields(Settings)
    ]
