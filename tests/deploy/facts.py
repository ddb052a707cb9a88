"""What is true of the image, for the files that deploy it, and those files themselves."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.nodes import Node

from image.build import VARIANTS
from services import settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
IMAGE = "comfyui-docker"
DEFAULTS = settings.load({})
PORTS = (DEFAULTS.dashboard_port, DEFAULTS.comfyui_port)
WORKSPACE = settings.DEFAULT_WORKSPACE
# What docs/operations.md promises.
STOP_SECONDS = 8


class _Constructor(SafeConstructor):
    """Knows compose's !reset, which takes a value away."""


def _reset(constructor: SafeConstructor, node: Node) -> None:
    return None


_Constructor.add_constructor("!reset", _reset)


def documents(file: Path) -> list[Any]:
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    return list(yaml.load_all(file.read_text(encoding="utf-8")))


def document(file: Path) -> Any:
    (only,) = documents(file)
    return only


def version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def bake_bases() -> list[str]:
    """What docker-bake.hcl builds each variant for: cu130 and so on."""
    bases = re.search(r'variable "BASES" \{\s*default = \{(.*?)\}', (ROOT / "docker-bake.hcl").read_text(), re.DOTALL)
    assert bases is not None
    return re.findall(r"^\s*(\w+)\s*=", bases[1], re.MULTILINE)


def tags() -> set[str]:
    """Every tag that docker-bake.hcl gives."""
    return {f"{version()}-{variant}-{base}" for variant in VARIANTS for base in bake_bases()}


def state_mount() -> str:
    """The folder that must be writable for the image's STATE_DIR."""
    found = re.search(r"STATE_DIR=(\S+)", (ROOT / "Dockerfile").read_text())
    assert found is not None
    return str(Path(found[1]).parent)


def setting_names() -> set[str]:
    """Every name that the suite reads: the settings, and the files of the secrets."""
    return {name for name, *_ in settings.described()} | {f"{name}_FILE" for name in settings.SECRET_NAMES}


def deploy_files() -> Iterator[Path]:
    """Those that are committed; a folder of secrets may hold a password."""
    return (file for file in sorted(DEPLOY.rglob("*")) if file.suffix in {".yaml", ".json"})
