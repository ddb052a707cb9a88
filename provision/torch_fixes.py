"""torchvision and torchaudio from PyPI beside a CPU build of torch: their libraries want CUDA's, their Python does not.

Only where importing them fails is anything changed, in our own virtual environment. torchvision's C++ operators (nms,
roi_align) stay away; ComfyUI itself uses none of them.

The Dockerfile runs `python -m provision.torch_fixes` with the Python of ComfyUI's environment.
"""

import subprocess
import sys
import sysconfig
from pathlib import Path

from provision import stamps, virtualenv
from provision.errors import SetupError
from provision.step import Step

TORCHAUDIO = "2.11.0"  # the newest on PyPI; it names no torch version
LIST_BROKEN = """
import importlib, torch
print(f"cuda:{torch.version.cuda}")
for name in ("torchvision", "torchaudio"):
    try:
        importlib.import_module(name)
    except Exception:
        print("broken:" + name)
"""
ANCHOR = "import torchvision.extension  # noqa: F401\n"
MARK = "# Declared here because the compiled operators could not be loaded:"
SCHEMAS = f"""{ANCHOR}
{MARK}
if not torchvision.extension._has_ops():
    _declared = torch.library.Library("torchvision", "FRAGMENT")
    _declared.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def apply(step: Step, python: Path, site_packages: Path) -> None:
    """Brings torchaudio in where it is missing, and mends what cannot be imported. Raises SetupError."""
    if not (site_packages / "torchaudio").is_dir():
        virtualenv.install(step, "installing torchaudio", python, "--no-deps", f"torchaudio=={TORCHAUDIO}")
    mend(step.run("importing torch", python, "-c", LIST_BROKEN).split(), site_packages)


def main() -> int:
    """Mends the environment it runs in, if its torch is a CPU build; otherwise what is broken is an error."""
    command = [sys.executable, "-c", LIST_BROKEN]
    broken = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    found = [name for name in broken if name.startswith("broken:")]
    if found and "cuda:None" not in broken:
        print(f"beside a CUDA build of torch: {' '.join(found)}", file=sys.stderr)
        return 1
    mend(broken, Path(sysconfig.get_path("purelib")))
    return 0


def mend(broken: list[str], site_packages: Path) -> None:
    """`broken` is the output of LIST_BROKEN. Raises SetupError."""
    if "broken:torchvision" in broken:
        declare_operators(site_packages / "torchvision" / "_meta_registrations.py")
    if "broken:torchaudio" in broken:
        remove_libraries(site_packages / "torchaudio" / "lib")


def declare_operators(registrations: Path) -> None:
    """Without its library torchvision registers stand-ins for operators that nobody has declared, and raises.

    https://github.com/pytorch/vision/blob/main/torchvision/_meta_registrations.py. Raises SetupError.
    """
    text = registrations.read_text(encoding="utf-8")
    if MARK in text:
        return
    if ANCHOR not in text:
        raise SetupError(f"torchvision cannot be imported, and there is no known fix for this version: {registrations}")
    # Never written in place: the file may be a hard link into uv's cache.
    stamps.replace_text(registrations, text.replace(ANCHOR, SCHEMAS, 1))


def remove_libraries(folder: Path) -> None:
    """torchaudio raises when a library is there and cannot be loaded, and goes without when it is not there."""
    for library in folder.glob("*.so"):
        library.unlink()


if __name__ == "__main__":
    sys.exit(main())
