"""`preset-manager doctor`: what it finds, and that it finds nothing where nothing is wrong."""

import os
import struct
from pathlib import Path
from typing import Any

import pytest

from services import journal
from services.installs import Installs
from services.presets import parse_preset
from services.schedule import ScheduleRecords
from services.workspace import Workspace
from tests.fakes.model_host import ModelHost
from tests.faults.pod import Pod, wait_for
from tests.tools.conftest import Manager

SAFETENSORS = struct.pack("<Q", 2) + b"{}"
TOKEN = "hf_" + "aVerySecretToken"


def found(manager: Manager, name: str, code: int = 1) -> list[dict[str, Any]]:
    """What it says of `name`, beside what is well."""
    done = manager.run("doctor", "--json")
    assert done.code == code, done.out
    assert done.document["healthy"] == (code == 0)
    return [check for check in done.document["checks"] if check["name"] == name and check["state"] != "ok"]


def test_a_volume_in_order_has_nothing_wrong(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("MINE", small)
    manager.run("install", "MINE")
    done = manager.run("doctor")
    assert (done.code, done.err) == (0, "")
    assert "Nothing is wrong" in done.out


def test_a_volume_that_is_not_there_is_told_with_its_remedy(manager: Manager) -> None:
    manager.workspace = Workspace(Path("/nonexistent/volume"))
    (check,) = found(manager, "volume")
    assert "does not exist" in check["message"]
    assert "WORKSPACE" in check["remedy"]


def test_too_little_room_is_a_problem(manager: Manager) -> None:
    manager.environment["DISK_RESERVE_BYTES"] = str(10**15)
    (check,) = found(manager, "space")
    assert "nothing can be installed" in check["message"]


def test_a_broken_preset_is_named(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("MINE", {**small, "folder": "unet"})
    (check,) = found(manager, "catalogue")
    assert "'unet' is called 'diffusion_models'" in check["message"]


def test_a_file_of_presets_that_cannot_be_read_is_told_from_a_broken_entry(manager: Manager) -> None:
    manager.workspace.user_presets_file.write_text("presets: [", encoding="utf-8")
    (check,) = found(manager, "catalogue")
    assert "none of its presets can be used" in check["remedy"]


@pytest.mark.parametrize(("name", "meant"), [("lora", "loras"), ("checkpoint", "checkpoints"), ("Loras", "loras")])
def test_a_misspelt_folder_is_told_with_the_right_name(manager: Manager, name: str, meant: str) -> None:
    (manager.workspace.models / name).mkdir()
    (check,) = found(manager, "folders")
    assert f"models/{name}" in check["message"]
    assert check["remedy"].endswith(f"models/{meant}/")


def test_the_folder_of_a_custom_node_is_nothing_wrong(manager: Manager) -> None:
    (manager.workspace.models / "insightface").mkdir()
    (check,) = found(manager, "folders", 0)
    assert check["state"] == "note"


def test_the_old_names_of_folders_are_nothing_wrong(manager: Manager) -> None:
    (manager.workspace.models / "unet").mkdir()
    assert found(manager, "folders", 0) == []


def test_a_model_that_cannot_be_loaded_is_named(manager: Manager) -> None:
    manager.model("vae", "half.safetensors").write_bytes(SAFETENSORS[:5])
    manager.model("vae", "whole.safetensors").write_bytes(SAFETENSORS)
    checks = found(manager, "models")
    assert [check["message"].split()[0] for check in checks if check["state"] == "problem"] == ["vae/half.safetensors"]


def test_files_that_nobody_verified_are_named_and_nothing_wrong(manager: Manager) -> None:
    manager.model("vae", "copied.safetensors").write_bytes(SAFETENSORS)
    (check,) = found(manager, "models", 0)
    assert "vae/copied.safetensors" in check["message"]


def test_partial_data_that_nobody_wants_is_found_and_its_remedy_works(manager: Manager) -> None:
    journal.part_file(manager.model("vae", "it's old.ckpt")).write_bytes(bytes(1000))
    (check,) = found(manager, "leftovers")
    assert os.system(check["remedy"].partition(": ")[2]) == 0  # noqa: S605
    assert found(manager, "leftovers", 0) == []


def test_partial_data_of_what_is_wanted_is_left_alone(manager: Manager, small: dict[str, Any]) -> None:
    preset = {"id": "MINE", "name": "Mine", "kind": "image", "description": "", "files": [small]}
    Installs(manager.workspace).request(parse_preset(preset))
    journal.part_file(manager.model("vae", "small.ckpt")).write_bytes(bytes(1000))
    assert found(manager, "leftovers", 0) == []


def test_a_download_that_failed_is_told_with_its_reason(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("WRONG", {**small, "sha256": "0" * 64})
    manager.run("install", "WRONG")
    (check,) = found(manager, "downloads")
    assert "sha256" in check["message"]
    assert "preset-manager install WRONG" in check["remedy"]


def test_paused_downloads_are_told(manager: Manager) -> None:
    ScheduleRecords(manager.workspace).pause()
    (check,) = found(manager, "downloads")
    assert "all downloads are paused" in check["message"]


def test_a_token_is_shown_nowhere(manager: Manager, model_host: ModelHost) -> None:
    # It is not sent there: the host does not speak https.
    manager.environment |= {"HF_TOKEN": TOKEN, "HF_ENDPOINT": model_host.url("")}
    for done in (manager.run("doctor"), manager.run("doctor", "--json")):
        assert "Hugging Face token" in done.out
        assert TOKEN not in done.out + done.err
    assert all(TOKEN not in log.read_text() for log in manager.workspace.logs.rglob("*.log"))


def test_a_suite_that_does_not_run_is_nothing_wrong(manager: Manager) -> None:
    (check,) = found(manager, "suite", 0)
    assert "does not run" in check["message"]


def test_a_part_of_the_suite_that_is_down_is_a_problem(manager: Manager, pod: Pod) -> None:
    wait_for(lambda: manager.run("status", "--json").document["running"], "the suite", 60)
    assert found(manager, "redis") == []
    assert found(manager, "reconciler") == []
    pod.config.doorbell_socket.unlink()
    (check,) = found(manager, "reconciler")
    assert "does not answer" in check["message"]
