"""The manifests against Kubernetes' own schemas, against one another and against the image."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from services import settings
from tests.deploy.facts import DEPLOY, IMAGE, PORTS, STOP_SECONDS, WORKSPACE, document, state_mount, tags
from tests.image.container import CAPABILITIES

FOLDER = DEPLOY / "kubernetes"
MANIFESTS = ("base/statefulset.yaml", "base/service.yaml", "base/networkpolicy.yaml", "secret.example.yaml")
# The oldest whose schemas are at hand, and the newest.
VERSIONS = ("1.25.0", kubernetes_validate.latest_version())
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def patched(base: Any, patch: Any) -> Any:
    """As kustomize merges: null takes away, and lists of named things are merged by name."""
    if isinstance(base, dict) and isinstance(patch, dict):
        keys = [*base, *(key for key in patch if key not in base)]
        merged = {key: patched(base.get(key), patch[key]) if key in patch else base[key] for key in keys}
        return {key: value for key, value in merged.items() if value is not None}
    if isinstance(base, list) and isinstance(patch, list) and all("name" in item for item in patch):
        changes = {item["name"]: item for item in patch}
        return [patched(item, changes.get(item["name"], {})) for item in base]
    return patch


def manifest(name: str) -> Any:
    return document(FOLDER / name)


def any_user() -> Any:
    return patched(manifest("base/statefulset.yaml"), manifest("any-user/statefulset.yaml"))


@pytest.fixture
def pod() -> Any:
    return manifest("base/statefulset.yaml")["spec"]["template"]["spec"]


@pytest.fixture
def container(pod: Any) -> Any:
    (only,) = pod["containers"]
    return only


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MANIFESTS)
def test_the_manifests_are_valid(name: str, version: str) -> None:
    kubernetes_validate.validate(manifest(name), version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_variant_for_any_user_is_valid(version: str) -> None:
    kubernetes_validate.validate(any_user(), version, strict=True)


def a_misspelt_key(broken: Any) -> None:
    broken["spec"]["template"]["spec"]["terminationGracePeriod"] = 15


def a_word_for_a_number(broken: Any) -> None:
    broken["spec"]["replicas"] = "one"


def no_name(broken: Any) -> None:
    del broken["spec"]["template"]["spec"]["containers"][0]["name"]


@pytest.mark.parametrize("fault", [a_misspelt_key, a_word_for_a_number, no_name])
def test_a_broken_manifest_would_be_found(fault: Callable[[Any], None]) -> None:
    broken = copy.deepcopy(manifest("base/statefulset.yaml"))
    fault(broken)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_namespace_is_left_to_whoever_applies_them(name: str) -> None:
    assert "namespace" not in manifest(name)["metadata"]


@pytest.mark.parametrize("folder", ["base", "any-user"])
def test_the_kustomization_names_what_is_there(folder: str) -> None:
    kustomization = document(FOLDER / folder / "kustomization.yaml")
    named = [*kustomization["resources"], *(patch["path"] for patch in kustomization.get("patches", []))]
    assert all((FOLDER / folder / name).exists() for name in named)
    others = {file.name for file in (FOLDER / folder).iterdir()} - {"kustomization.yaml"}
    assert others == {name for name in named if not name.startswith("..")}


def test_the_image_is_one_that_is_built(container: Any) -> None:
    (image,) = document(FOLDER / "base/kustomization.yaml")["images"]
    assert image["name"] == container["image"] == IMAGE
    assert image["newName"].rpartition("/")[2] == IMAGE
    assert image["newTag"] in tags()


def test_the_ports_are_the_suites(container: Any) -> None:
    assert tuple(port["containerPort"] for port in container["ports"]) == PORTS
    assert tuple(rule["port"] for rule in manifest("base/networkpolicy.yaml")["spec"]["ingress"][0]["ports"]) == PORTS


def test_the_service_leads_to_the_pod(container: Any) -> None:
    template = manifest("base/statefulset.yaml")["spec"]["template"]
    service = manifest("base/service.yaml")
    assert service["metadata"]["name"] == manifest("base/statefulset.yaml")["spec"]["serviceName"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    named = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert [named[port["targetPort"]] for port in service["spec"]["ports"]] == [
        port["port"] for port in service["spec"]["ports"]
    ]


def test_the_network_policy_and_the_stateful_set_are_about_the_same_pods() -> None:
    stateful_set = manifest("base/statefulset.yaml")["spec"]
    labels = stateful_set["template"]["metadata"]["labels"]
    assert stateful_set["selector"]["matchLabels"] == labels
    assert manifest("base/networkpolicy.yaml")["spec"]["podSelector"]["matchLabels"] == labels


def test_only_names_and_https_get_out() -> None:
    egress = manifest("base/networkpolicy.yaml")["spec"]["egress"]
    assert {port["port"] for rule in egress for port in rule["ports"]} == {53, 443}


@pytest.mark.parametrize("probe", PROBES)
def test_no_probe_waits_for_comfyui(container: Any, probe: str) -> None:
    assert container[probe]["httpGet"] == {"path": "/healthz", "port": "dashboard"}


def test_every_mount_has_its_volume_and_every_volume_its_mount(pod: Any, container: Any) -> None:
    claims = manifest("base/statefulset.yaml")["spec"]["volumeClaimTemplates"]
    volumes = [volume["name"] for volume in pod["volumes"]] + [claim["metadata"]["name"] for claim in claims]
    assert sorted(volumes) == sorted(mount["name"] for mount in container["volumeMounts"])


def test_all_that_must_be_written_is_mounted(pod: Any, container: Any) -> None:
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    claims = manifest("base/statefulset.yaml")["spec"]["volumeClaimTemplates"]
    empty = {volume["name"] for volume in pod["volumes"] if "emptyDir" in volume}
    assert mounts[WORKSPACE] in {claim["metadata"]["name"] for claim in claims}
    assert mounts[state_mount()] in empty
    assert mounts["/tmp"] in empty


def test_each_secret_is_a_file_that_a_setting_names(pod: Any, container: Any) -> None:
    (volume,) = [volume for volume in pod["volumes"] if "secret" in volume]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == volume["name"]]
    example = manifest("secret.example.yaml")
    assert volume["secret"]["secretName"] == example["metadata"]["name"]
    files = {item["name"]: Path(item["value"]) for item in container["env"] if item["name"].endswith("_FILE")}
    assert {path.name for path in files.values()} == example["stringData"].keys()
    assert {str(path.parent) for path in files.values()} == {mount["mountPath"]}
    assert {name.removesuffix("_FILE") for name in files} <= set(settings.SECRET_NAMES)


def test_no_password_is_committed() -> None:
    assert set(manifest("secret.example.yaml")["stringData"].values()) == {""}


def test_the_other_settings_are_valid(container: Any) -> None:
    settings.load({item["name"]: item["value"] for item in container["env"] if not item["name"].endswith("_FILE")})


def test_kubernetes_sets_none_of_our_settings_by_itself(pod: Any) -> None:
    # For a Service named comfyui it would set COMFYUI_PORT.
    assert pod["enableServiceLinks"] is False


def test_as_root_it_has_the_capabilities_that_the_image_is_tested_with_and_no_other(container: Any) -> None:
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": list(CAPABILITIES)}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_as_any_user_it_has_none() -> None:
    pod = any_user()["spec"]["template"]["spec"]
    security = pod["containers"][0]["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    # What it has of the volume and of the Secret's files it has through this group.
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]


def test_it_is_given_the_time_it_needs_to_stop(pod: Any) -> None:
    assert pod["terminationGracePeriodSeconds"] > STOP_SECONDS


def test_it_asks_for_one_gpu(container: Any) -> None:
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
