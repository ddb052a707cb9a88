"""ComfyUI's own virtual environment: PyTorch for this machine, and everything ComfyUI's requirements name.

Nothing is left out, not even the example pictures of the templates: the comfyui-* packages are 118 of some 470 MB to
download without a GPU, and 1 s of the minute that it takes.
"""

import re
import shutil
from pathlib import Path

from provision import torch_fixes, virtualenv
from provision.comfyui_source import Source
from provision.errors import CommandError
from provision.step import Step

TORCH = "2.13.0"
COPY_CONSTRAINTS = Path(__file__).with_name("constraints-comfyui-copy.txt")
# ComfyUI 0.3.75 imports requests and does not require it: transformers brought it along until its version 5.
EXTRA = ("requests",)
TORCH_ANSWER_SECONDS = 30.0
TORCH_LINE = re.compile(r"(torch|torchvision|torchaudio)\s*([<>=!~;\[].*)?", re.IGNORECASE)
IMPORT_TORCH = "import torch, torchvision, torchaudio; print(torch.__version__)"
LIST_TORCH = """
from importlib.metadata import distributions
for found in distributions():
    if found.name in ("torch", "torchvision", "torchaudio"):
        print(f"{found.name}=={found.version}")
"""


def has_nvidia_gpu(step: Step) -> bool:
    if Path("/dev/nvidia0").exists():
        return True
    if not shutil.which("nvidia-smi"):
        return False
    try:
        step.run("asking for a GPU", "nvidia-smi", "--list-gpus", timeout_seconds=20)
    except CommandError:
        return False
    return True


def install(step: Step, python: Path, source: Source, gpu: bool) -> str:
    """Installs into the environment of `python`; returns the version of torch. Raises SetupError."""
    site_packages = next(python.parent.parent.glob("lib/python3.*/site-packages"))
    if gpu:
        step.say(f"installing torch {TORCH} with CUDA: this machine has an NVIDIA GPU (some GB; this takes minutes)")
        virtualenv.install(step, "installing torch with CUDA", python, f"torch=={TORCH}", "torchvision", "torchaudio")
    else:
        _install_cpu_torch(step, python)
    _install_requirements(step, python, source)
    if not gpu:  # beside a CUDA build, one that cannot be imported is an error
        torch_fixes.apply(step, python, site_packages)
    torch = step.run("importing torch, torchvision and torchaudio", python, "-c", IMPORT_TORCH).split()[-1]
    if source.origin == "own":
        virtualenv.compile_all(step, python, site_packages)
    else:
        virtualenv.compile_all(step, python, source.folder)
        _start_once(step, python, source)
    return torch


def _install_cpu_torch(step: Step, python: Path) -> None:
    """From PyTorch's own index if it can be reached, which has CPU builds of all three and is known to uv.

    Otherwise pip decides: PyPI's torch is the CUDA build, unless pip's configuration names a CPU wheel.
    """
    packages = (f"torch=={TORCH}", "torchvision", "torchaudio")
    uv = (python.with_name("uv"), "pip", "install", "--no-progress", "--python", python, "--torch-backend", "cpu")
    try:
        step.run(
            "asking PyTorch's index",
            *(*uv, "--dry-run", *packages),
            environment={"UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": "10"},
            timeout_seconds=TORCH_ANSWER_SECONDS,
        )
    except CommandError:
        step.say(f"installing torch {TORCH}: what pip finds (no GPU here; PyTorch's own index is out of reach)")
        step.pip("installing torch", python, "install", "--no-compile", f"torch=={TORCH}")
        return
    step.say(f"installing torch {TORCH}: the CPU build (no NVIDIA GPU here)")
    step.run("installing torch for CPU", *uv, *packages)


def _install_requirements(step: Step, python: Path, source: Source) -> None:
    """The rest, with torch held where it is."""
    lines = (source.folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    build_dir = step.settings.build_dir
    requirements, constraints = build_dir / "comfyui-requirements.txt", build_dir / "comfyui-constraints.txt"
    wanted = [*(line for line in lines if not TORCH_LINE.fullmatch(line.strip())), *EXTRA]
    held = step.run("listing packages", python, "-c", LIST_TORCH).splitlines()
    if source.origin == "pypi":
        held.append(COPY_CONSTRAINTS.read_text(encoding="utf-8"))
    requirements.write_text("\n".join(wanted) + "\n", encoding="utf-8")
    constraints.write_text("\n".join(held) + "\n", encoding="utf-8")
    step.say("installing the packages that ComfyUI requires")
    virtualenv.install(step, "installing ComfyUI's requirements", python, "-c", constraints, "-r", requirements)


def _start_once(step: Step, python: Path, source: Source) -> None:
    """Proves that ComfyUI starts, and leaves byte code of what it imports: half the work of compiling everything.

    Whatever it writes goes to a folder that is removed. A failure is no end: the dashboard runs without ComfyUI.
    """
    base = step.settings.build_dir / "tmp" / "comfyui"
    (base / "custom_nodes").mkdir(parents=True, exist_ok=True)
    flags = ("--cpu", "--quick-test-for-ci", "--base-directory", base, "--database-url", f"sqlite:///{base}/comfyui.db")
    try:
        step.run("starting ComfyUI", python, source.folder / "main.py", *flags, cwd=source.folder)
    except CommandError as error:
        step.say(f"warning: {error}")
