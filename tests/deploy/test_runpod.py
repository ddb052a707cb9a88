"""deploy/runpod.json, the body that RunPod's API makes a template from."""

import json
from typing import Any

import pytest

from services import settings
from tests.deploy.facts import DEPLOY, IMAGE, PORTS, WORKSPACE, tags

# https://docs.runpod.io/api-reference/templates/POST/templates
FIELDS = {
    "category": str,
    "containerDiskInGb": int,
    "dockerEntrypoint": list,
    "dockerStartCmd": list,
    "env": dict,
    "imageName": str,
    "isPublic": bool,
    "isServerless": bool,
    "name": str,
    "ports": list,
    "readme": str,
    "volumeInGb": int,
    "volumeMountPath": str,
}


@pytest.fixture
def template() -> Any:
    return json.loads((DEPLOY / "runpod.json").read_text())


def test_it_has_fields_that_runpod_knows(template: Any) -> None:
    assert {name: type(value) for name, value in template.items()} == FIELDS


def test_the_image_is_one_that_is_built(template: Any) -> None:
    name, _, tag = template["imageName"].rpartition("/")[2].partition(":")
    assert name == IMAGE
    assert tag in tags()


def test_both_ports_go_through_runpods_proxy(template: Any) -> None:
    assert template["ports"] == [f"{port}/http" for port in PORTS]


def test_the_volume_is_the_workspace(template: Any) -> None:
    assert template["volumeMountPath"] == WORKSPACE


def test_the_image_starts_as_it_says_itself(template: Any) -> None:
    assert template["dockerEntrypoint"] == template["dockerStartCmd"] == []


def test_the_settings_are_there_to_be_filled_in_and_hold_no_secret(template: Any) -> None:
    assert template["env"].keys() <= set(settings.SECRET_NAMES)
    assert set(template["env"].values()) == {""}
    assert settings.load(template["env"]) == settings.load({})
