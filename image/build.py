"""Builds the variants, with the registries' bases or with stand-ins for them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from image.engine import Engine, EngineError
from image.stand_ins import StandIns

VARIANTS = ("minimal", "standard", "full", "dev")


class Plan(TypedDict):
    """One target as `docker buildx bake --print` has it."""

    target: str
    args: dict[str, str]
    labels: dict[str, str]
    tags: list[str]


@dataclass(frozen=True)
class Layer:
    """`step` is the line of the Dockerfile that made it."""

    digest: str
    step: str
    size_bytes: int


def with_stand_ins(engine: Engine, context: Path, variant: str, tag: str, stand_ins: StandIns) -> None:
    """One target of the Dockerfile below `context`, labelled as bake would. Raises EngineError."""
    arguments = [f"--build-arg={name}={value}" for name, value in stand_ins.arguments.items()]
    contexts = [f"--build-context={name}={folder}" for name, folder in stand_ins.contexts.items()]
    labels = [f"--label={name}={value}" for name, value in planned(engine, context, f"{variant}-cpu")["labels"].items()]
    network = [f"--network={engine.network}"] if engine.network else []
    engine.docker(
        *("build", "--progress=plain", f"--target={variant}", f"--tag={tag}"),
        *network, *arguments, *contexts, *labels, context,
    )  # fmt: skip


def planned(engine: Engine, context: Path, target: str) -> Plan:
    """What bake would build of one target of docker-bake.hcl. Raises EngineError."""
    printed = engine.docker("buildx", "bake", f"--file={context}/docker-bake.hcl", "--print", target)
    plan: Plan = json.loads(printed)["target"][target]
    return plan


def layers(engine: Engine, image: str) -> list[Layer]:
    """From the base's to the last. Raises EngineError."""
    history = engine.docker("history", "--no-trunc", "--human=false", "--format={{json .}}", image).splitlines()
    made = [entry for line in reversed(history) if _makes_a_layer((entry := json.loads(line))["CreatedBy"])]
    digests = json.loads(engine.docker("inspect", "--format={{json .RootFS.Layers}}", image))
    if len(made) != len(digests):
        raise EngineError(f"{image} has {len(digests)} layers, and a history of {len(made)}")
    pairs = zip(digests, made, strict=True)
    return [Layer(digest, entry["CreatedBy"], int(entry["Size"])) for digest, entry in pairs]


def _makes_a_layer(step: str) -> bool:
    """Of a base that was imported, nothing is known; older builders wrote every step as a shell's."""
    words = step.removeprefix("/bin/sh -c ").removeprefix("#(nop) ").split(maxsplit=1)
    return not words or words[0] in {"RUN", "COPY", "ADD", "WORKDIR"} or not words[0].isupper()
