"""`preset-manager install` and `uninstall`, with and without the suite."""

import hashlib
import os
import pwd
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services import journal, standing
from services.catalogue import load_catalogue
from services.installs import View
from services.schedule import ScheduleRecords
from services.workspace import Workspace
from tests.fakes.model_host import ModelHost
from tests.faults.pod import Pod
from tests.tools.conftest import Manager

SIZE = 24 * 1024 * 1024
# Of each connection.
SPEED = 256 * 1024


@pytest.fixture(scope="module")
def content() -> bytes:
    return random.Random(11).randbytes(SIZE)


@pytest.fixture
def large(model_host: ModelHost, content: bytes) -> dict[str, Any]:
    """A file of a preset that takes a while: 24 MiB at /large."""
    digest = hashlib.sha256(content).hexdigest()
    url = model_host.add("/large", content, throttle=SPEED)
    return {"url": url, "folder": "loras", "name": "large.ckpt", "size_bytes": SIZE, "sha256": digest}


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.02)


def state_of(manager: Manager, id_: str) -> str:
    """As the dashboard sees it."""
    preset = load_catalogue(Path("/nonexistent"), manager.workspace).get(id_)
    view = View(
        installs=manager.installs.all(),
        removed=manager.installs.removed(),
        holds=manager.installs.holds(),
        verified=manager.verified.holding_for(preset.files),
        progress={},
    )
    return standing.status(preset, view).state


def part_of(manager: Manager) -> Path:
    return journal.part_file(manager.model("loras", "large.ckpt"))


def test_without_the_suite_an_install_is_done_here(
    manager: Manager, large: dict[str, Any], model_host: ModelHost
) -> None:
    model_host.behave("/large", throttle=None)
    manager.add("LARGE", large)
    done = manager.run("install", "LARGE")
    assert (done.code, done.err) == (0, "")
    assert hashlib.sha256(manager.model("loras", "large.ckpt").read_bytes()).hexdigest() == large["sha256"]
    assert "Large is installed" in done.out


def test_what_was_installed_here_is_installed_for_the_dashboard(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("MINE", small)
    assert manager.run("install", "MINE").code == 0
    assert state_of(manager, "MINE") == "installed"
    assert manager.installs.all()["MINE"].completed_at is not None
    assert list(manager.model("vae", "small.ckpt").parent.iterdir()) == [manager.model("vae", "small.ckpt")]


def test_a_volume_that_was_never_started_on_will_do(tmp_path: Path, manager: Manager, small: dict[str, Any]) -> None:
    manager.workspace = Workspace(tmp_path / "new")
    manager.workspace.config.mkdir(parents=True)
    manager.add("MINE", small)
    assert manager.run("install", "MINE").code == 0
    assert manager.model("vae", "small.ckpt").stat().st_size == 50_000


def test_the_workflow_of_a_preset_comes_with_it(manager: Manager, small: dict[str, Any]) -> None:
    workflow = {"1": {"class_type": "VAELoader", "inputs": {"vae_name": "small.ckpt"}}}
    manager.add("MINE", small, workflow=workflow)
    manager.run("install", "MINE")
    saved = manager.workspace.workflow_file("presets", "MINE")
    assert msgspec.json.decode(saved.read_bytes()) == workflow


def test_what_is_installed_is_not_fetched_again(manager: Manager, small: dict[str, Any], model_host: ModelHost) -> None:
    manager.add("MINE", small)
    manager.run("install", "MINE")
    sent = model_host.bytes_sent("/small")
    done = manager.run("install", "MINE", "--json")
    assert (done.code, done.document["where"]) == (0, None)
    assert model_host.bytes_sent("/small") == sent


def test_a_file_that_two_presets_share_is_fetched_once(
    manager: Manager, small: dict[str, Any], model_host: ModelHost
) -> None:
    manager.add("ONE", small)
    manager.add("TWO", small)
    assert manager.run("install", "ONE", "TWO").code == 0
    assert (state_of(manager, "ONE"), state_of(manager, "TWO")) == ("installed", "installed")
    assert model_host.bytes_sent("/small") == 50_000


def test_an_interrupted_install_goes_on_from_where_it_was(
    manager: Manager, large: dict[str, Any], model_host: ModelHost
) -> None:
    manager.add("LARGE", large)
    process = manager.start("install", "LARGE")
    wait_for(lambda: model_host.bytes_sent("/large") > SIZE / 4, "a quarter of the file")
    done = manager.interrupt(process)
    assert done.code == 130
    assert "goes on from there" in done.err
    assert journal.load(manager.model("loras", "large.ckpt")) is not None
    assert not journal.lease_file(manager.model("loras", "large.ckpt")).exists()
    model_host.behave("/large", throttle=None)
    assert manager.run("install", "LARGE").code == 0
    assert hashlib.sha256(manager.model("loras", "large.ckpt").read_bytes()).hexdigest() == large["sha256"]
    # What was on its way when the lines were closed counts as sent, too.
    assert model_host.bytes_sent("/large") < SIZE + 12 * 1024 * 1024


def test_json_is_one_document_and_the_rest_goes_to_stderr(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("MINE", small)
    done = manager.run("install", "--json", "MINE")
    assert [install["state"] for install in done.document["installs"]] == ["installed"]
    assert done.document["where"] == "here"
    assert "small.ckpt is here" in done.err


def test_what_does_not_fit_is_refused_before_anything_is_fetched(
    manager: Manager, small: dict[str, Any], model_host: ModelHost
) -> None:
    manager.add("HUGE", {**small, "size_bytes": 10**15})
    done = manager.run("install", "HUGE", "--json")
    assert done.code == 4
    assert done.document["error"]["type"] == "not_enough_space"
    assert model_host.bytes_sent("/small") == 0
    assert manager.installs.all() == {}


def test_presets_that_fit_alone_and_not_together_are_refused(manager: Manager, model_host: ModelHost) -> None:
    size = shutil.disk_usage(manager.workspace.root).free * 2 // 3
    for name in ("one", "two"):
        url = model_host.add(f"/{name}", bytes(10))
        manager.add(name.upper(), {"url": url, "folder": "vae", "name": f"{name}.ckpt", "size_bytes": size})
    assert manager.run("plan", "ONE").code == 0
    assert manager.run("install", "ONE", "TWO").code == 4
    assert manager.installs.all() == {}


def test_what_the_host_refuses_is_not_recorded(manager: Manager, model_host: ModelHost) -> None:
    manager.add("GONE", {"url": model_host.url("/gone"), "folder": "vae", "name": "gone.ckpt"})
    done = manager.run("install", "GONE")
    assert done.code == 5
    assert "no such file" in done.err
    assert manager.installs.all() == {}


def test_a_file_that_is_not_the_right_one_ends_with_1_and_is_held(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("WRONG", {**small, "sha256": "0" * 64})
    done = manager.run("install", "WRONG")
    assert done.code == 1
    assert "sha256" in done.err
    assert state_of(manager, "WRONG") == "failed"
    assert not manager.model("vae", "small.ckpt").exists()


def test_one_file_that_fails_does_not_keep_the_others_away(
    manager: Manager, small: dict[str, Any], model_host: ModelHost
) -> None:
    other = {"url": model_host.add("/other", bytes(1000)), "folder": "loras", "name": "other.ckpt"}
    manager.add("HALF", {**small, "sha256": "0" * 64}, other)
    assert manager.run("install", "HALF").code == 1
    assert manager.model("loras", "other.ckpt").stat().st_size == 1000


def test_while_all_downloads_are_paused_nothing_is_fetched(manager: Manager, small: dict[str, Any]) -> None:
    ScheduleRecords(manager.workspace).pause()
    manager.add("MINE", small)
    done = manager.run("install", "MINE")
    assert done.code == 1
    assert "all downloads are paused" in done.err
    assert not manager.model("vae", "small.ckpt").exists()


def test_two_installs_at_once_share_the_work(manager: Manager, large: dict[str, Any], model_host: ModelHost) -> None:
    manager.add("LARGE", large)
    first = manager.start("install", "LARGE")
    wait_for(lambda: model_host.bytes_sent("/large") > SIZE / 8, "the first to be at it")
    second = manager.start("install", "LARGE")
    assert (manager.end(first).code, manager.end(second).code) == (0, 0)
    assert model_host.bytes_sent("/large") < SIZE + 4 * 1024 * 1024


def test_what_is_only_recorded_is_fetched_by_the_suite_that_starts_later(
    manager: Manager, small: dict[str, Any], model_host: ModelHost
) -> None:
    manager.add("MINE", small)
    done = manager.run("install", "--no-wait", "MINE")
    assert done.code == 0
    assert model_host.bytes_sent("/small") == 0
    with Pod(manager.workspace.root):
        wait_for(lambda: state_of(manager, "MINE") == "installed", "the suite to install it")


def test_while_the_suite_runs_its_workers_fetch(manager: Manager, pod: Pod, small: dict[str, Any]) -> None:
    manager.add("MINE", small)
    wait_for(lambda: manager.run("status", "--json").document["running"], "the suite")
    done = manager.run("install", "--json", "MINE")
    assert (done.code, done.document["where"]) == (0, "suite")
    assert state_of(manager, "MINE") == "installed"
    assert "download_enqueued" in pod.words()


def test_who_stops_watching_does_not_stop_the_suite(
    manager: Manager, pod: Pod, large: dict[str, Any], model_host: ModelHost
) -> None:
    manager.add("LARGE", large)
    wait_for(lambda: manager.run("status", "--json").document["running"], "the suite")
    process = manager.start("install", "LARGE")
    wait_for(lambda: model_host.bytes_sent("/large") > 0, "the download to begin")
    done = manager.interrupt(process)
    assert done.code == 130
    assert "goes on in the background" in done.err
    followed = manager.run("status", "--follow", "LARGE")
    assert followed.code == 0
    assert state_of(manager, "LARGE") == "installed"


def test_the_status_says_how_far_the_suite_is(
    manager: Manager, pod: Pod, large: dict[str, Any], model_host: ModelHost
) -> None:
    manager.add("LARGE", large)
    wait_for(lambda: manager.run("status", "--json").document["running"], "the suite")
    assert manager.run("install", "--no-wait", "LARGE").code == 0
    wait_for(lambda: model_host.bytes_sent("/large") > SIZE / 4, "a quarter of the file")
    (status,) = manager.run("status", "--json").document["installs"]
    assert (status["preset_id"], status["state"]) == ("LARGE", "downloading")
    assert 0 < status["bytes_done"] < SIZE


def test_what_a_worker_cannot_fetch_ends_with_1(manager: Manager, pod: Pod, small: dict[str, Any]) -> None:
    manager.add("WRONG", {**small, "sha256": "0" * 64})
    wait_for(lambda: manager.run("status", "--json").document["running"], "the suite")
    done = manager.run("install", "WRONG")
    assert done.code == 1
    assert "sha256" in done.err


def test_an_install_can_be_done_here_although_the_suite_runs(
    manager: Manager, pod: Pod, large: dict[str, Any], model_host: ModelHost
) -> None:
    model_host.behave("/large", throttle=4 * SPEED)
    manager.add("LARGE", large)
    wait_for(lambda: manager.run("status", "--json").document["running"], "the suite")
    done = manager.run("install", "--here", "--json", "LARGE")
    assert (done.code, done.document["where"]) == (0, "here")
    assert hashlib.sha256(manager.model("loras", "large.ckpt").read_bytes()).hexdigest() == large["sha256"]
    assert model_host.bytes_sent("/large") < SIZE + 4 * 1024 * 1024


def test_uninstalling_takes_the_files_along(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("MINE", small)
    manager.run("install", "MINE")
    done = manager.run("uninstall", "--yes", "--json", "MINE")
    assert done.code == 0
    assert done.document["freed_bytes"] == 50_000
    assert not manager.model("vae", "small.ckpt").exists()
    assert state_of(manager, "MINE") == "available"


def test_what_would_go_is_only_said_if_asked_for(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("MINE", small)
    manager.run("install", "MINE")
    done = manager.run("uninstall", "--dry-run", "--json", "MINE")
    assert (done.code, done.document["freed_bytes"], done.document["dry_run"]) == (0, 50_000, True)
    assert state_of(manager, "MINE") == "installed"


def test_what_another_preset_needs_stays_and_the_reason_is_said(
    manager: Manager, small: dict[str, Any], model_host: ModelHost
) -> None:
    other = {"url": model_host.add("/other", bytes(1000)), "folder": "loras", "name": "other.ckpt"}
    manager.add("ONE", small)
    manager.add("TWO", small, other)
    manager.run("install", "ONE", "TWO")
    done = manager.run("uninstall", "--yes", "TWO")
    assert "vae/small.ckpt stays: needed by One" in done.out
    assert state_of(manager, "ONE") == "installed"
    assert not manager.model("loras", "other.ckpt").exists()


def test_what_a_saved_workflow_needs_stays(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("MINE", small)
    manager.run("install", "MINE")
    workflow = {"1": {"class_type": "VAELoader", "inputs": {"vae_name": "small.ckpt"}}}
    manager.workspace.workflow_file("user", "portrait").write_bytes(msgspec.json.encode(workflow))
    assert "needed by the workflow portrait" in manager.run("uninstall", "--yes", "MINE").out
    assert manager.model("vae", "small.ckpt").exists()


def test_presets_that_go_together_do_not_keep_each_others_files(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("ONE", small)
    manager.add("TWO", small)
    manager.run("install", "ONE", "TWO")
    assert manager.run("uninstall", "--yes", "ONE", "TWO").code == 0
    assert not manager.model("vae", "small.ckpt").exists()


def test_nobody_is_asked_where_nobody_sits(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("MINE", small)
    manager.run("install", "MINE")
    done = manager.run("uninstall", "MINE")
    assert done.code == 2
    assert "--yes" in done.err
    assert state_of(manager, "MINE") == "installed"


def test_what_is_being_downloaded_can_be_uninstalled(
    manager: Manager, pod: Pod, large: dict[str, Any], model_host: ModelHost
) -> None:
    manager.add("LARGE", large)
    wait_for(lambda: manager.run("status", "--json").document["running"], "the suite")
    manager.run("install", "--no-wait", "LARGE")
    wait_for(lambda: part_of(manager).exists() and model_host.bytes_sent("/large") > SIZE / 8, "the download to begin")
    assert manager.run("uninstall", "--yes", "LARGE").code == 0
    wait_for(lambda: "download_stopped" in pod.words(), "the worker to let go")
    wait_for(lambda: not any(manager.model("loras", "large.ckpt").parent.iterdir()), "its folder to be empty")


def test_what_root_installs_belongs_to_the_suites_user(
    open_folder: Path, manager: Manager, small: dict[str, Any]
) -> None:
    entry = pwd.getpwnam("nobody")
    manager.workspace = Workspace(open_folder / "workspace")
    manager.environment |= {"SUITE_USER": entry.pw_name}
    manager.workspace.root.mkdir()
    manager.workspace.root.chmod(0o777)
    manager.workspace.config.mkdir()
    manager.add("MINE", small)
    manager.workspace.config.chmod(0o777)
    assert manager.run("install", "MINE").code == 0
    figures = manager.model("vae", "small.ckpt").stat()
    assert figures.st_uid == (entry.pw_uid if os.geteuid() == 0 else os.geteuid())
    assert figures.st_mode & 0o060 == 0o060
