"""ComfyUI-Manager's lists of node packs, `.build/comfyui-manager-lists`: a checkout's ComfyUI has no Manager.

Only the two lists are unpacked. services/node_packs.py looks for them there.
"""

import shutil
import zipfile
from pathlib import Path

from provision import stamps, suite
from provision.errors import CommandError
from provision.step import Step

LOCK = Path(__file__).with_name("requirements-manager.lock")
LISTS = ("custom-node-list.json", "extension-node-map.json")


def folder(build_dir: Path) -> Path:
    return build_dir / "comfyui-manager-lists"


def install(step: Step) -> None:
    """By the suite's pip, which checks the hash. Raises SetupError."""
    build_dir = step.settings.build_dir
    lists, stamp_file, wheels = folder(build_dir), build_dir / "manager.json", build_dir / "manager.wheel"
    stamp = {"lock": stamps.digest([LOCK], LOCK.parent)}
    if all((lists / name).is_file() for name in LISTS) and stamps.read(stamp_file) == stamp:
        return
    stamp_file.unlink(missing_ok=True)
    shutil.rmtree(wheels, ignore_errors=True)
    step.pip(
        "downloading ComfyUI-Manager's lists",
        suite.python(step.settings),
        *("download", "--no-deps", "--require-hashes", "--only-binary", ":all:", "-d", wheels, "-r", LOCK),
    )
    lists.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
        for name in LISTS:
            (lists / name).write_bytes(wheel.read(f"comfyui_manager/{name}"))
    shutil.rmtree(wheels)
    stamps.write(stamp_file, stamp)


def install_if_possible(step: Step) -> None:
    """What runs without them says less of a missing node class, and nothing else."""
    try:
        install(step)
    except CommandError as error:
        step.say(f"without ComfyUI-Manager's lists of node packs: {error}")
