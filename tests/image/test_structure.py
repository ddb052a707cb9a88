"""What every variant must have, by container-structure-test; and the compose file, by Docker itself."""

import subprocess
import sys
from pathlib import Path

import pytest

from image import build
from image.engine import Engine, EngineError
from services.settings import APP_DIR

pytestmark = pytest.mark.engine

COMPOSE = APP_DIR / "deploy" / "compose.yaml"


def structure_test(docker: Engine, image: str, config: Path) -> str:
    """What failed; empty when nothing."""
    program = Path(sys.executable).with_name("container-structure-test")
    command: list[str | Path] = [program, "test", "--no-color", "--image", image, "--config", config]
    done = subprocess.run(command, env=docker.environment, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("variant", build.VARIANTS)
def test_every_variant_has_its_structure(docker: Engine, images: dict[str, str], variant: str) -> None:
    assert structure_test(docker, images[variant], Path(__file__).with_name("structure.yaml")) == ""


def test_a_missing_file_would_be_found(docker: Engine, images: dict[str, str], tmp_path: Path) -> None:
    config = tmp_path / "wrong.yaml"
    config.write_text(
        "schemaVersion: 2.0.0\nfileExistenceTests:\n  - {name: nothing, path: /app/nothing, shouldExist: true}\n"
    )
    assert "/app/nothing" in structure_test(docker, images["minimal"], config)


def test_docker_takes_the_compose_file(docker: Engine, tmp_path: Path) -> None:
    docker.docker("compose", f"--file={COMPOSE}", "config", "--quiet")
    for override in COMPOSE.parent.glob("compose.*.yaml"):
        docker.docker("compose", f"--file={COMPOSE}", f"--file={override}", "config", "--quiet")
    broken = tmp_path / "compose.yaml"
    broken.write_text(COMPOSE.read_text().replace("cap_drop:", "cap_dropped:"))
    with pytest.raises(EngineError):
        docker.docker("compose", f"--file={broken}", "config", "--quiet")
