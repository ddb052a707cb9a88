"""deploy/compose.yaml against the image: `docker compose config` is asked where there is an engine."""

import re
from typing import Any

import pytest

from services import settings
from tests.deploy.facts import DEPLOY, IMAGE, PORTS, STOP_SECONDS, WORKSPACE, document, state_mount, tags
from tests.image.container import CAPABILITIES

FILES = ("compose.yaml", "compose.cpu.yaml")


@pytest.fixture
def compose() -> Any:
    return document(DEPLOY / "compose.yaml")


@pytest.fixture
def service(compose: Any) -> Any:
    return compose["services"]["comfyui"]


@pytest.mark.parametrize("file", FILES)
def test_the_image_is_one_that_is_built(file: str) -> None:
    name, _, tag = document(DEPLOY / file)["services"]["comfyui"]["image"].partition(":")
    assert name == IMAGE
    assert tag in tags()


def test_the_ports_are_the_suites_and_open_to_this_machine_only(service: Any) -> None:
    assert service["ports"] == [f"127.0.0.1:{port}:{port}" for port in PORTS]


def test_the_volume_is_the_workspace(compose: Any, service: Any) -> None:
    (volume,) = service["volumes"]
    name, _, target = volume.partition(":")
    assert name in compose["volumes"]
    assert target == WORKSPACE


def test_on_a_read_only_root_all_that_must_be_written_is_in_memory(service: Any) -> None:
    assert service["read_only"] is True
    options = dict(line.split(":", 1) for line in service["tmpfs"])
    assert options.keys() == {state_mount(), "/tmp"}
    assert all("mode=1777" in option.split(",") for option in options.values())


def test_it_has_the_capabilities_that_the_image_is_tested_with_and_no_other(service: Any) -> None:
    assert service["cap_drop"] == ["ALL"]
    assert tuple(service["cap_add"]) == CAPABILITIES
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_each_secret_is_a_file_that_a_setting_names(compose: Any, service: Any) -> None:
    files = {name: value for name, value in service["environment"].items() if name.endswith("_FILE")}
    assert sorted(files.values()) == sorted(f"/run/secrets/{name}" for name in service["secrets"])
    assert set(service["secrets"]) == compose["secrets"].keys()
    assert {name.removesuffix("_FILE") for name in files} <= set(settings.SECRET_NAMES)


@pytest.mark.parametrize("file", FILES)
def test_the_other_settings_are_valid(file: str) -> None:
    environment = document(DEPLOY / file)["services"]["comfyui"]["environment"]
    settings.load({name: value for name, value in environment.items() if not name.endswith("_FILE")})


def test_it_is_given_the_time_it_needs_to_stop(service: Any) -> None:
    assert int(re.fullmatch(r"(\d+)s", service["stop_grace_period"])[1]) > STOP_SECONDS  # type: ignore[index]


def test_it_may_not_take_all_memory_processes_or_disk(service: Any) -> None:
    assert service["deploy"]["resources"]["limits"].keys() == {"memory", "pids"}
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


def test_the_health_check_is_left_to_the_image(service: Any) -> None:
    assert "healthcheck" not in service


def test_without_a_gpu_none_is_asked_for() -> None:
    service = document(DEPLOY / "compose.cpu.yaml")["services"]["comfyui"]
    assert service["deploy"]["resources"]["reservations"] == {"devices": None}
    assert service["image"].endswith("-cpu")
