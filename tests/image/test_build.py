"""The image as built: its layers, their weight, and what a change costs."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from image import build
from image.build import Layer
from image.engine import Engine
from image.stand_ins import StandIns
from services.settings import APP_DIR
from tests.image.conftest import TAG

pytestmark = pytest.mark.engine

OVERHEAD_BYTES = 150_000_000
# The document's sizes, with CUDA: what is built here has none.
DOCUMENTED = {"minimal": "4 to 5 GB", "standard": "6 to 7 GB", "full": "8 to 10 GB", "dev": "10 to 12 GB"}


def is_suites(layer: Layer) -> bool:
    """Everything but the base, Python, torch, ComfyUI, its packages and its Manager's git."""
    return "redis-server" in layer.step or "/app/suite-venv" in layer.step.split("#")[0] or "/suite /app" in layer.step


@pytest.mark.parametrize("variant", build.VARIANTS)
def test_each_layer_says_what_it_costs(
    docker: Engine, images: dict[str, str], figures: Callable[[str], None], variant: str
) -> None:
    layers = build.layers(docker, images[variant])
    total = sum(layer.size_bytes for layer in layers)
    figures(f"{variant}: {total / 1e6:,.0f} MB on a base of {layers[0].size_bytes / 1e6:,.0f} MB, without CUDA")
    figures(f"  (the document: {DOCUMENTED[variant]} with CUDA; with NVIDIA's base: not measured)")
    for layer in layers[1:]:
        figures(f"  {layer.size_bytes / 1e6:8.1f} MB  {layer.step.split('/bin/sh -c')[-1].strip()[:100]}")
    assert len(layers) == len({layer.digest for layer in layers})
    assert is_suites(layers[-1]), "the suite's code must be the last layer"


def test_the_suite_itself_weighs_little(docker: Engine, images: dict[str, str], figures: Callable[[str], None]) -> None:
    found = [layer for layer in build.layers(docker, images["minimal"]) if is_suites(layer)]
    assert len(found) == 3
    overhead = sum(layer.size_bytes for layer in found)
    figures(f"overhead of the suite: {overhead / 1e6:.1f} MB (goal: at most {OVERHEAD_BYTES / 1e6:.0f})")
    assert overhead <= OVERHEAD_BYTES


def test_a_change_of_code_brings_one_small_layer(
    docker: Engine, images: dict[str, str], bases: StandIns, checkout: Path, figures: Callable[[str], None]
) -> None:
    with (checkout / "dashboard" / "pages.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    started = time.monotonic()
    build.with_stand_ins(docker, checkout, "minimal", f"{TAG}-changed", bases)
    seconds = time.monotonic() - started
    known = {layer.digest for layer in build.layers(docker, images["minimal"])}
    changed = [layer for layer in build.layers(docker, f"{TAG}-changed") if layer.digest not in known]
    size = sum(layer.size_bytes for layer in changed)
    figures(f"one line changed in dashboard/: rebuilt in {seconds:.1f} s, {size:,} bytes in {len(changed)} layer")
    assert len(changed) == 1
    assert size < 10_000_000


def test_a_variant_holds_the_one_before_it(docker: Engine, images: dict[str, str]) -> None:
    digests = {
        variant: [layer.digest for layer in build.layers(docker, image) if not is_suites(layer)]
        for variant, image in images.items()
    }
    for smaller, larger in (("minimal", "standard"), ("standard", "full"), ("full", "dev")):
        assert digests[larger][: len(digests[smaller])] == digests[smaller]


@pytest.mark.parametrize("variant", ["standard", "full"])
def test_the_packs_of_a_variant_are_loaded(docker: Engine, images: dict[str, str], variant: str) -> None:
    script = (
        "mkdir -p /tmp/base/custom_nodes && cd /app/comfyui && exec /app/venv/bin/python main.py --cpu "
        "--quick-test-for-ci --base-directory /tmp/base --database-url sqlite:////tmp/base/c.db "
        "--extra-model-paths-config /tmp/base/packs.yaml"
    )
    packs = "printf 'image:\\n  custom_nodes: /app/comfyui/custom_nodes\\n' > /tmp/base/packs.yaml"
    command = f"mkdir -p /tmp/base && {packs} && {script}"
    said = docker.docker("run", "--rm", "--network=none", "--entrypoint=sh", images[variant], "-c", f"({command}) 2>&1")
    assert f"custom_nodes/stand_in_{variant}" in said
    assert "IMPORT FAILED" not in said


def test_what_a_build_leaves_behind_is_not_shipped(docker: Engine, images: dict[str, str]) -> None:
    look = "find /root /tmp /var/cache /var/lib/apt/lists /usr/local/bin /app -maxdepth 3 -not -path '*/lib/*'"
    found = docker.docker("run", "--rm", "--network=none", "--entrypoint=sh", images["minimal"], "-c", look).split()
    unwanted = {".cache", ".npm", "apt", "base", "build.mjs", "comfyui.lock", "provision", "scripts", "styles", "uv"}
    # ComfyUI-Manager brings a uv of its own.
    own = ("/app/comfyui", "/app/venv")
    assert not [path for path in found if unwanted & set(path.split("/")) and not path.startswith(own)]


def test_bake_plans_every_variant_for_every_kind_of_torch(docker: Engine) -> None:
    for torch in ("cu130", "cu126", "cpu"):
        for variant in build.VARIANTS:
            plan = build.planned(docker, APP_DIR, f"{variant}-{torch}")
            assert plan["target"] == variant
            assert plan["args"]["TORCH_BACKEND"] == torch
            assert plan["labels"]["org.opencontainers.image.title"] == "ComfyUI-Docker"


def test_a_build_stops_at_a_comfyui_that_is_not_one(
    docker: Engine, images: dict[str, str], bases: StandIns, tmp_path: Path
) -> None:
    broken = tmp_path / "comfyui"
    shutil.copytree(bases.contexts["comfyui"], broken, ignore=shutil.ignore_patterns("__pycache__"))
    (broken / "main.py").write_text("raise SystemExit('broken')\n", encoding="utf-8")
    contexts = {**bases.contexts, "comfyui": broken}
    with pytest.raises(Exception, match="broken"):
        build.with_stand_ins(docker, APP_DIR, "minimal", f"{TAG}-broken", StandIns(bases.arguments, contexts))
