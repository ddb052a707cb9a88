"""The presets of PRESET_DOWNLOAD."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from services import journal
from services.catalogue import load_catalogue
from services.installs import Installs
from services.journal import Journal
from services.model_folders import KNOWN_FOLDERS
from services.settings import APP_DIR, Secret, Settings
from services.verified import Verified, VerifiedFiles
from services.workspace import Workspace
from tests.fakes import safetensors
from tests.fakes.faulty_volume import mounted
from tests.fakes.internet import Internet
from worker import at_start
from worker.reconciler import Reconciler

FILE = {"url": "https://host.example/a.safetensors", "folder": "vae", "name": "a.safetensors", "size_bytes": 5}


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


def wanting(settings: Settings, *ids: str, **changes: Any) -> Settings:
    return dataclasses.replace(settings, preset_download=ids, **changes)


def write(workspace: Workspace, *presets: dict[str, Any]) -> None:
    common = {"name": "A preset", "kind": "image", "description": "", "files": [FILE]}
    entries = [{**common, **preset} for preset in presets]
    workspace.user_presets_file.write_text(json.dumps({"presets": entries}))


def events(logged: list[Any], name: str) -> list[Any]:
    return [entry for entry in logged if entry["event"] == name]


def test_each_is_wanted_from_then_on(workspace: Workspace, settings: Settings) -> None:
    write(workspace, {"id": "ONE", "files": [{**FILE, "sha256": "0" * 64}]})
    at_start.request(wanting(settings, "ONE"))
    (install,) = Installs(workspace).all().values()
    assert install.preset_id == "ONE"
    assert install.is_active


def test_asking_at_every_start_is_asking_once(workspace: Workspace, settings: Settings) -> None:
    write(workspace, {"id": "ONE", "files": [{**FILE, "sha256": "0" * 64}]})
    at_start.request(wanting(settings, "ONE", "ONE"))
    before = Installs(workspace).all()
    at_start.request(wanting(settings, "ONE"))
    assert Installs(workspace).all() == before


def test_what_is_here_is_not_asked_for(workspace: Workspace, settings: Settings) -> None:
    write(workspace, {"id": "ONE"})
    file = workspace.model_file("vae", "a.safetensors")
    file.write_bytes(b"abcde")
    figures = file.stat()
    VerifiedFiles(workspace).put(Verified("vae", "a.safetensors", 5, figures.st_mtime_ns, "0" * 64, "size"))
    at_start.request(wanting(settings, "ONE"))
    assert Installs(workspace).all() == {}


def test_an_unknown_id_holds_up_no_other(workspace: Workspace, settings: Settings, logged: list[Any]) -> None:
    write(workspace, {"id": "ONE", "files": [{**FILE, "sha256": "0" * 64}]})
    at_start.request(wanting(settings, "WAN_22_5B_TIV", "ONE"))
    (entry,) = events(logged, "preset_not_known")
    assert "WAN_22_5B_TIV2" in entry["did_you_mean"]
    assert list(Installs(workspace).all()) == ["ONE"]


def test_what_does_not_fit_is_logged_with_the_figures(
    workspace: Workspace, settings: Settings, logged: list[Any]
) -> None:
    write(workspace, {"id": "ONE", "files": [{**FILE, "sha256": "0" * 64}]})
    at_start.request(wanting(settings, "ONE", disk_reserve_bytes=10**15))
    (entry,) = events(logged, "preset_not_requested")
    assert "0 B free for it on the volume beside 1.0 PB in reserve (DISK_RESERVE_BYTES)" in entry["reason"]
    assert Installs(workspace).all() == {}


def test_an_official_template_is_asked_for_as_its_hub_describes_it(
    workspace: Workspace, settings: Settings, internet: Internet
) -> None:
    official = [preset for preset in load_catalogue(APP_DIR / "presets", workspace) if preset.origin == "official"]
    preset = next(one for one in official if all(file.sha256 is None for file in one.files))
    for file in preset.files:
        repository, _, rest = file.url.removeprefix("https://huggingface.co/").partition("/resolve/main/")
        internet.hugging_face.add(repository, rest, safetensors.make(4000, file.url))
    proxy = Secret(f"http://127.0.0.1:{internet.proxy.port}")
    at_start.request(wanting(settings, preset.id, https_proxy=proxy))
    (install,) = Installs(workspace).all().values()
    assert [file.id for file in install.files] == [file.id for file in preset.files]
    assert {file.size_bytes for file in install.files} == {4000}
    assert all(file.sha256 for file in install.files)
    # The commit that was locked; where the template says, it is looked for only if that is gone.
    assert all("/resolve/main/" not in file.url for file in install.files)
    assert [file.mirrors for file in install.files] == [(file.url,) for file in preset.files]


def test_the_reconciler_asks_as_soon_as_the_volume_can_be_written(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "faulty"
    folder.mkdir()
    with mounted(folder) as volume:
        workspace = Workspace(volume.root)
        for part in workspace.folders(KNOWN_FOLDERS):
            (volume.root / part.path).mkdir(parents=True, exist_ok=True)
        write(workspace, {"id": "ONE", "files": [{**FILE, "sha256": "0" * 64}]})
        reconciler = Reconciler(wanting(settings, "ONE", workspace=volume.root))
        volume.fault("read_only")
        reconciler.go_round()
        assert Installs(workspace).all() == {}
        volume.fault("none")
        reconciler.go_round()
        assert list(Installs(workspace).all()) == ["ONE"]


def test_what_someone_cancels_later_is_not_asked_for_again_before_the_next_start(
    workspace: Workspace, settings: Settings
) -> None:
    write(workspace, {"id": "ONE", "files": [{**FILE, "sha256": "0" * 64}]})
    reconciler = Reconciler(wanting(settings, "ONE"))
    reconciler.go_round()
    Installs(workspace).cancel("ONE")
    reconciler.go_round()
    assert not Installs(workspace).all()["ONE"].is_active


def test_a_file_that_would_leave_the_models_holds_up_no_other(
    workspace: Workspace, settings: Settings, tmp_path: Path, logged: list[Any]
) -> None:
    (workspace.models / "vae" / "sub").symlink_to(tmp_path)
    known = {**FILE, "sha256": "0" * 64}
    write(workspace, {"id": "OUT", "files": [{**known, "name": "sub/a.safetensors"}]}, {"id": "IN", "files": [known]})
    at_start.request(wanting(settings, "OUT", "IN"))
    assert set(Installs(workspace).all()) == {"IN"}
    (said,) = events(logged, "preset_not_requested")
    assert said["preset_id"] == "OUT"


def test_what_others_have_fetched_already_takes_no_room_again(
    workspace: Workspace, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    big, small = ({**FILE, "name": f"{size}.safetensors", "size_bytes": size, "sha256": "0" * 64} for size in (100, 5))
    write(workspace, {"id": "BIG", "files": [big]}, {"id": "SMALL", "files": [small]})
    at_start.request(wanting(settings, "BIG"))
    target = workspace.model_file("vae", "100.safetensors")
    journal.part_file(target).write_bytes(bytes(90))
    journal.save(target, Journal(str(FILE["url"]), 100, "x", ((0, 90),)))
    monkeypatch.setattr(Workspace, "free_bytes", lambda _: settings.disk_reserve_bytes + 20)
    at_start.request(wanting(settings, "SMALL"))
    assert set(Installs(workspace).all()) == {"BIG", "SMALL"}
