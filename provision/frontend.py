"""The dashboard's scripts, styles and icons: `npm ci`, then `dashboard/build.mjs` into `dashboard/static/`."""

import os
from collections.abc import Iterator
from pathlib import Path

from provision import node, stamps
from provision.errors import SetupError
from provision.step import Step

# npm's own pauses between tries, 10 and 60 s, and its 5 minutes for an answer make a broken network look like a hang.
FETCH = ("--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000", "--fetch-timeout=60000")


def build(step: Step) -> None:
    """Builds when a source or a pinned package has changed. Raises SetupError."""
    root = step.settings.root
    stamp_file = step.settings.build_dir / "frontend.json"
    packages = [root / "package.json", root / "package-lock.json"]
    for file in [*packages, root / "dashboard/build.mjs"]:
        if not file.is_file():
            raise SetupError(f"{file.relative_to(root)} is missing: this checkout is incomplete")
    stamp = {"packages": stamps.digest(packages, root), "sources": stamps.digest(_sources(root), root)}
    if (root / "dashboard/static").is_dir() and stamps.read(stamp_file) == stamp:
        return
    stamp_file.unlink(missing_ok=True)
    found = node.find(step)
    step.say(f"building dashboard/static with {found.where}")
    environment = {"PATH": f"{found.program.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    _install_packages(step, found, stamp["packages"], environment)
    step.run("building the front end", found.program, "dashboard/build.mjs", cwd=root, environment=environment)
    stamps.write(stamp_file, stamp)


def _install_packages(step: Step, found: node.Node, packages: str, environment: dict[str, str]) -> None:
    """The stamp lies in node_modules, which `npm ci` deletes first: an interrupted run leaves none."""
    root = step.settings.root
    stamp_file, stamp = root / "node_modules" / ".set-up.json", {"packages": packages}
    if stamps.read(stamp_file) == stamp:
        return
    quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--include=dev")
    step.run("installing the front end's packages", *found.npm, "ci", *quiet, *FETCH, cwd=root, environment=environment)
    stamps.write(stamp_file, stamp)


def _sources(root: Path) -> Iterator[Path]:
    """All that build.mjs may read: Tailwind looks for class names in templates and scripts."""
    for folder, folders, files in os.walk(root / "dashboard"):
        folders[:] = [name for name in folders if name not in {"static", "__pycache__"}]
        yield from (Path(folder, name) for name in files if not name.endswith(".py"))
