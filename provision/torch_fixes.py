"""torchvision and torchaudio from PyPI beside a CPU build of torch: their libraries want CUDA's, their Python does not.

Only where importing them fails is anything changed, in our own virtual environment. torchvision's C++ operators (nms,
roi_align) stay away; ComfyUI itself uses none of them.
"""

from pathlib import Path

from provision import stamps, virtualenv
from provision.errors import SetupError
from provision.step import Step

TORCHAUDIO = "2.11.0"  # the newest on PyPI; it names no torch version
LIST_BROKEN = """
import importlib
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
    broken = step.run("importing torch", python, "-c", LIST_BROKEN).split()
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
