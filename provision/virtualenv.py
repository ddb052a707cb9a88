"""A virtual environment with pip and uv in it, made anew."""

import shutil
from pathlib import Path

from provision.errors import CommandError, SetupError
from provision.step import Step

UV_LOCK = Path(__file__).with_name("requirements-uv.lock")


def create(step: Step, folder: Path, base_python: Path) -> Path:
    """Makes `folder` and returns its Python. Raises SetupError.

    What an interrupted run left there goes first: pip takes a half-unpacked package for an installed one. It is made in
    place, not renamed into place, since the programs in `bin/` carry their own absolute path.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        step.run("making a virtual environment", base_python, "-m", "venv", folder)
    except CommandError as error:
        if "ensurepip" not in error.output:
            raise
        remedy = f"install its venv package (Debian: {base_python.name}-venv)"
        raise SetupError(f"{base_python} lacks ensurepip: {remedy}") from None
    python = folder / "bin" / "python"
    step.pip("installing uv", python, "install", "--require-hashes", "-r", UV_LOCK)
    return python


def install(step: Step, what: str, python: Path, *arguments: str | Path) -> None:
    """Installs with uv (ComfyUI's 60 packages: 5 s instead of 46), where uv fails with pip. Raises SetupError.

    pip goes by its own configuration, a company's mirror for instance, which uv does not read.
    """
    try:
        step.run(what, python.with_name("uv"), "pip", "install", "--no-progress", "--python", python, *arguments)
    except CommandError:
        step.pip(what, python, "install", "--no-compile", *arguments)


def compile_all(step: Step, python: Path, folder: Path) -> None:
    """Byte code for `folder`, on all cores.

    As root the programs run as users that may not write here: without it they compile everything at each start.
    """
    try:
        step.run("compiling", python, "-m", "compileall", "-qq", "-j", "0", "-x", "/tests?/", folder)
    except CommandError:
        return  # some packages carry a file for another Python, which stays as it is
