"""`docs/licences.md`: what the image holds and under which licence, from the locks and from what the packages say."""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from provision import stamps, suite
from provision.errors import SetupError
from provision.step import Step

# What the image runs: see the Dockerfile.
PYTHON_VERSION = "3.13"
PLATFORM = "x86_64-manylinux_2_39"

# Debian's package: the licence of what it brings, as its /usr/share/doc/<package>/copyright has it.
DEBIAN = {
    "build-essential": "GPL-3.0-or-later (gcc, g++, make), GPL-2.0-or-later (dpkg-dev)",
    "ca-certificates": "MPL-2.0, GPL-2.0-or-later",
    "curl": "curl",
    "git": "GPL-2.0-only",
    "less": "GPL-3.0-or-later OR BSD-2-Clause",
    "libgssapi-krb5-2": "MIT",
    "nano": "GPL-3.0-or-later",
    "nginx": "BSD-2-Clause",
    "redis-server": "BSD-3-Clause",
    "ripgrep": "MIT OR Unlicense",
    "tini": "MIT",
}
# Stages of the Dockerfile of which only what they make is in the image.
BUILD_ONLY = {"git", "code-server"}
LONGEST_LICENCE = 60
LONG_NAMES = {
    "MIT License": "MIT",
    "The MIT License": "MIT",
    "BSD License": "BSD",
    "Apache Software License": "Apache-2.0",
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "ISC License": "ISC",
}

INTRODUCTION = """\
# Licences

Written by `make licences`; do not edit. Licences are named as each package names them.

The suite itself is under the [MIT licence](../LICENSE). The image also holds, each under its own:

| what | licence |
|---|---|
| [ComfyUI](https://github.com/Comfy-Org/ComfyUI), a program of its own, unchanged | GPL-3.0 |
| ComfyUI-Manager, a package of ComfyUI's environment, unchanged | GPL-3.0-only |
| Python | PSF-2.0 |
| NVIDIA's base image, and the CUDA libraries in PyTorch's packages | NVIDIA's own |
| PyTorch: `torch`, `torchvision`, `torchaudio` | BSD-3-Clause |
| code-server in `dev`, without Copilot | MIT; what it is made of: `ThirdPartyNotices.txt` beside it |
| custom nodes of the larger variants | in `image/custom-nodes.toml`, each with its commit |

What ComfyUI fixes the version of itself (its front end, templates and documents) comes as it asks, and is not listed.
"""


@dataclass(frozen=True, order=True)
class Package:
    name: str
    version: str
    licence: str


def write(step: Step) -> None:
    """Raises SetupError."""
    root = step.settings.root
    sections = [(f"Python: `{_name(root, lock)}`", _of_lock(step, lock)) for lock in locks(root)]
    sections.append(("npm: what is built into the dashboard's pages", bundled(root)))
    sections.append(("Debian and Ubuntu, beside the base image", debian(root)))
    target = root / "docs" / "licences.md"
    stamps.replace_text(target, render(sections))
    step.say(f"{_name(root, target)}: {sum(len(packages) for _, packages in sections)} packages")


def locks(root: Path) -> list[Path]:
    """The locks of what ends up in the image."""
    return [root / "requirements.lock", *sorted((root / "image").glob("*.lock"))]


def locked(lock: Path) -> dict[str, tuple[str, bool]]:
    """Each package's version, and whether it is for some machines only."""
    found = re.finditer(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)( ;)?", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return {match[1]: (match[2], bool(match[3])) for match in found}


def bundled(root: Path) -> list[Package]:
    """The npm packages that `dashboard/build.mjs` names, and what they need, by package-lock.json."""
    names = re.search(r"^const BUNDLED = \[(.*)\]", (root / "dashboard/build.mjs").read_text(), re.MULTILINE)
    if names is None:
        raise SetupError("dashboard/build.mjs names no BUNDLED packages")
    packages = json.loads((root / "package-lock.json").read_text())["packages"]
    places: dict[str, None] = {}
    waiting = [f"node_modules/{name}" for name in re.findall(r"'([^']+)'", names[1])]
    while waiting:
        place = waiting.pop()
        places[place] = None
        needs = (_place(packages, place, name) for name in packages[place].get("dependencies", {}))
        waiting += [needed for needed in needs if needed not in places]
    return sorted(
        Package(place.rpartition("node_modules/")[2], packages[place]["version"], packages[place]["license"])
        for place in places
    )


def debian(root: Path) -> list[Package]:
    """What the Dockerfile installs. Raises SetupError for a package that DEBIAN lacks."""
    text = re.sub(r"\\\n", " ", (root / "Dockerfile").read_text())
    stages = re.split(r"^FROM .* AS ", text, flags=re.MULTILINE)
    shipped = "".join(stage for stage in stages if stage.partition("\n")[0] not in BUILD_ONLY)
    names = {
        word
        for arguments in re.findall(r"apt-get install ([^&\n]*)", shipped)
        for word in arguments.split()
        if not word.startswith("-")
    }
    if missing := names - DEBIAN.keys():
        raise SetupError(f"provision/licences.py: DEBIAN lacks {', '.join(sorted(missing))}, which the image installs")
    return [Package(name, "", DEBIAN[name]) for name in sorted(names)]


def render(sections: Iterable[tuple[str, list[Package]]]) -> str:
    parts = [INTRODUCTION]
    for title, packages in sections:
        rows = [f"| {package.name} | {package.version} | {package.licence} |" for package in packages]
        parts.append("\n".join([f"## {title}", "", "| package | version | licence |", "|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def stated(package: Distribution) -> str:
    """The licence by the package's own metadata: the expression, else a short name, else the classifiers."""
    metadata = package.metadata
    name = (metadata["License"] or "").strip() if "License" in metadata else ""
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    if name and "\n" not in name and len(name) <= LONGEST_LICENCE:
        return LONG_NAMES.get(name, name)
    classifiers = [value for value in metadata.get_all("Classifier") or [] if value.startswith("License ::")]
    names = [value.rpartition(" :: ")[2] for value in classifiers]
    return " OR ".join(LONG_NAMES.get(name, name) for name in names) or "not stated"


def _of_lock(step: Step, lock: Path) -> list[Package]:
    """Installed as the image has them, since only a package itself says its licence."""
    folder = step.settings.build_dir / "licences"
    shutil.rmtree(folder, ignore_errors=True)
    what = f"installing {lock.name}"
    step.run(
        what,
        *(suite.python(step.settings).with_name("uv"), "pip", "install", "--no-progress", "--target", folder),
        *("--python", suite.python(step.settings), "--python-version", PYTHON_VERSION, "--python-platform", PLATFORM),
        *("--no-deps", "--require-hashes", "-r", lock),
    )
    try:
        return sorted(_installed(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _installed(folder: Path) -> Iterator[Package]:
    for package in distributions(path=[str(folder)]):
        name = re.sub(r"[-_.]+", "-", package.metadata["Name"]).lower()
        yield Package(name, package.version, stated(package).replace("|", "\\|"))


def _place(packages: dict[str, object], parent: str, name: str) -> str:
    """Where npm put what `parent` needs: beside it, or further up."""
    while parent and (place := f"{parent}/node_modules/{name}") not in packages:
        parent = parent.rpartition("/node_modules/")[0]
    return place if parent else f"node_modules/{name}"


def _name(root: Path, file: Path) -> str:
    return str(file.relative_to(root))
