"""`python -m image build|run TARGET [--stand-ins]`, `python -m image stop`: what `make image` and `make image-run` do.

TARGET is one of docker-bake.hcl, such as `standard-cu130`.
"""

import argparse
import os
import sys
from pathlib import Path

from image import build, engine, stand_ins
from image.engine import Engine, EngineError, OwnEngine

ROOT = Path(__file__).resolve().parent.parent
PASSED_ON = ("DASHBOARD_PASSWORD", "HF_TOKEN", "CIVITAI_TOKEN", "CODE_SERVER", "JUPYTER")
ENGINE_DIR = ROOT / ".build" / "engine"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m image")
    parser.add_argument("command", choices=("build", "run", "stop"))
    parser.add_argument("target", nargs="?", default="standard-cu130")
    parser.add_argument("--stand-ins", action="store_true", help="bases made here, where no container registry answers")
    parser.add_argument("--workspace", type=Path, default=ROOT / "workspace")
    given = parser.parse_args(arguments)
    try:
        if given.command == "stop":
            OwnEngine(ENGINE_DIR).stop()
        elif given.command == "build":
            _build(engine.find(ENGINE_DIR), given.target, given.stand_ins)
        else:
            _run(engine.find(ENGINE_DIR), given.target, given.workspace.resolve())
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _build(docker: Engine, target: str, with_stand_ins: bool) -> None:
    tag = build.planned(docker, ROOT, target)["tags"][0]
    if with_stand_ins:
        variant = target.partition("-")[0]
        build.with_stand_ins(
            docker, ROOT, variant, tag, stand_ins.make(docker, ROOT, os.environ.get("SUITE", "bookworm"))
        )
    elif docker.network:
        raise EngineError(
            "no Docker answers here: install it, or build with stand-ins for the bases (ARGS=--stand-ins)"
        )
    else:
        docker.show("buildx", "bake", f"--file={ROOT}/docker-bake.hcl", "--load", target)
    for layer in build.layers(docker, tag):
        print(f"{layer.size_bytes / 1e6:9.1f} MB  {layer.step.rpartition('/bin/sh -c ')[2][:100]}")
    print(f"built {tag}; make image-run TARGET={target} starts it")


def _run(docker: Engine, target: str, workspace: Path) -> None:
    """Becomes `docker run`, so that Ctrl-C reaches the container."""
    tag = build.planned(docker, ROOT, target)["tags"][0]
    workspace.mkdir(exist_ok=True)
    network = (
        [f"--network={docker.network}"]
        if docker.network
        else [f"--publish=127.0.0.1:{port}:{port}" for port in (8080, 3000, 7777, 8888)]
    )
    gpu = ["--gpus=all"] if Path("/dev/nvidia0").exists() else []
    given = [f"--env={name}" for name in PASSED_ON if name in os.environ]
    command = ["docker", "run", "--rm", *network, *gpu, *given, f"--volume={workspace}:/workspace", tag]
    os.execvpe(command[0], command, dict(docker.environment))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
