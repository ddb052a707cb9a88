"""Reading a volume that takes its time."""

import asyncio
import errno
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

import dashboard.library
from dashboard.library import Library
from dashboard.volume import THREADS, Volume
from services.artifacts import Artifact
from services.errors import Conflict, NotFound, WorkspaceUnavailable
from services.installs import added
from services.models import ModelFile, ModelIndex
from services.presets import Preset
from services.settings import Settings
from services.workspace import Workspace

PRESET = {
    "id": "MINE",
    "name": "Mine",
    "kind": "image",
    "description": "Of the user.",
    "files": [{"url": "https://host.example/mine.ckpt", "folder": "checkpoints", "name": "mine.ckpt", "size_bytes": 7}],
    "workflow": {"1": {"class_type": "EmptyImage", "inputs": {}}},
}


class Door:
    """What everyone who looks at the volume has to pass; counts those who are waiting."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.looks = 0

    def pass_(self, go_on: Callable[[], object]) -> object:
        self.looks += 1
        self.open.wait(20)
        return go_on()


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    door = Door()
    monkeypatch.setattr(dashboard.library, "CALL_SECONDS", 20.0)
    monkeypatch.setattr(dashboard.library, "FRESH_SECONDS", 0.0)
    return door


@pytest.fixture
def impatient(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """For those who shut the door."""
    monkeypatch.setattr(dashboard.library, "CALL_SECONDS", 0.1)


@pytest.fixture
async def library(settings: Settings, door: Door, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Library]:
    volume = Volume(settings)
    made = Library(settings, volume, {})
    scan = made._index.scan
    monkeypatch.setattr(made._index, "scan", lambda show: door.pass_(lambda: scan(show)))
    await made.load()
    yield made
    door.open.set()
    volume.close()


def add_preset(settings: Settings) -> None:
    (settings.workspace / "config" / "presets.yaml").write_bytes(msgspec.json.encode({"presets": [PRESET]}))


async def shelf_with(library: Library, preset_id: str) -> None:
    until = time.monotonic() + 15
    while preset_id not in (await library.shelf()).catalogue.presets:
        assert time.monotonic() < until, f"{preset_id} does not show"
        await asyncio.sleep(0.01)


@pytest.mark.usefixtures("impatient")
async def test_the_users_presets_show_although_the_look_that_read_them_was_late(
    settings: Settings, library: Library, door: Door
) -> None:
    add_preset(settings)
    door.open.clear()
    assert "MINE" not in (await library.shelf()).catalogue.presets
    door.open.set()
    await shelf_with(library, "MINE")


@pytest.mark.usefixtures("impatient")
async def test_a_volume_that_does_not_answer_is_looked_at_by_one_thread(library: Library, door: Door) -> None:
    door.open.clear()
    for _ in range(THREADS * 2):
        library.forget()
        await library.shelf()
    while not door.looks:
        await asyncio.sleep(0.01)
    assert door.looks == 1


async def test_while_a_look_is_late_the_last_picture_is_shown_at_once(
    library: Library, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = await library.shelf()
    door.open.clear()
    await library.shelf()
    # Who waited now would do so until the door opens.
    monkeypatch.setattr(dashboard.library, "PATIENCE_SECONDS", 60.0)
    async with asyncio.timeout(10):
        assert await library.shelf() is known


async def test_what_changed_during_a_look_is_in_the_next_one(
    settings: Settings, library: Library, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard.library, "FRESH_SECONDS", 1000.0)
    door.open.clear()
    looking = asyncio.create_task(library.shelf())
    while not door.looks:
        await asyncio.sleep(0.01)
    library.forget()
    door.open.set()
    await looking
    (settings.workspace / "models" / "loras" / "new.safetensors").write_bytes(b"x")
    assert len((await library.shelf()).models) == 1


async def test_a_preset_nobody_asked_for_has_its_workflow_all_the_same(settings: Settings, library: Library) -> None:
    add_preset(settings)
    assert await library.saved_workflow("MINE") == PRESET["workflow"]
    assert await library.workflow_title("MINE") == "Mine"


async def test_a_workflow_of_ones_own_goes_before_a_presets(settings: Settings, library: Library) -> None:
    add_preset(settings)
    own = {"1": {"class_type": "LoadImage", "inputs": {}}}
    Path(settings.workspace / "workflows" / "user" / "MINE.json").write_bytes(msgspec.json.encode(own))
    assert await library.saved_workflow("MINE") == own


async def test_a_look_that_fails_leaves_what_was_known(
    settings: Settings, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = await library.shelf()
    scan = library._index.scan

    def fail(_show: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(library._index, "scan", fail)
    library.forget()
    assert await library.shelf() is known
    monkeypatch.setattr(library._index, "scan", scan)
    (settings.workspace / "models" / "loras" / "new.safetensors").write_bytes(b"x")
    library.forget()
    assert len((await library.shelf()).models) == 1


async def test_the_first_picture_shows_folder_by_folder(
    settings: Settings, library: Library, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard.library, "PART_SECONDS", 0.01)
    add_preset(settings)
    for name in ("loras", "vae"):
        (settings.workspace / "models" / name / "a.safetensors").write_bytes(b"x")

    def in_steps(show: Callable[[], None]) -> dict[str, ModelFile]:
        def step() -> None:
            time.sleep(0.02)
            show()
            if len(library._index.so_far()) == 1:
                door.pass_(lambda: None)

        return ModelIndex.scan(library._index, step)

    monkeypatch.setattr(library._index, "scan", in_steps)
    door.open.clear()
    until = time.monotonic() + 15
    while not (part := await library.shelf()).models:
        assert time.monotonic() < until, "nothing shows"
        await asyncio.sleep(0.01)
    assert (len(part.models), part.is_complete) == (1, False)
    assert "MINE" in part.catalogue.presets
    door.open.set()
    while not (whole := await library.shelf()).is_complete:
        assert time.monotonic() < until, "it is never complete"
        await asyncio.sleep(0.01)
    assert len(whole.models) == 2
    assert whole.version > part.version


async def test_while_nothing_changes_the_picture_is_the_same(library: Library) -> None:
    known = await library.shelf()
    library.forget()
    assert await library.shelf() is known


async def test_a_listing_is_made_once_for_each_picture(settings: Settings, library: Library) -> None:
    known = await library.listing()
    library.forget()
    assert await library.listing() is known
    (settings.workspace / "models" / "loras" / "new.safetensors").write_bytes(b"x")
    library.forget()
    assert await library.listing() is not known


@pytest.mark.usefixtures("impatient")
async def test_what_cannot_be_taken_back_waits_for_the_picture_of_now(
    settings: Settings, library: Library, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    await library.shelf()
    (settings.workspace / "models" / "loras" / "new.safetensors").write_bytes(b"x")
    door.open.clear()
    with pytest.raises(WorkspaceUnavailable, match="still being looked at"):
        await library.current()
    door.open.set()
    monkeypatch.setattr(dashboard.library, "CALL_SECONDS", 20.0)
    assert len((await library.current()).models) == 1


async def test_what_cannot_be_taken_back_needs_a_look_that_succeeded(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    await library.shelf()

    def fail(_show: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(library._index, "scan", fail)
    with pytest.raises(WorkspaceUnavailable):
        await library.current()


async def test_of_two_presets_that_fit_alone_one_is_refused(
    settings: Settings, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workspace, "free_bytes", lambda _: settings.disk_reserve_bytes + 10)
    request = library.installs.request

    def late(preset: Preset) -> bool:
        time.sleep(0.2)
        return request(preset)

    monkeypatch.setattr(library.installs, "request", late)
    files = [Artifact(f"https://host.example/{name}", "loras", f"{name}.ckpt", size_bytes=7) for name in "ab"]
    asked = await asyncio.gather(*(library.request(added(file)) for file in files), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in asked) == ["NotEnoughSpace", "bool"]


async def test_presets_that_changed_under_the_same_time_show(settings: Settings, library: Library) -> None:
    add_preset(settings)
    file = settings.workspace / "config" / "presets.yaml"
    # Not long ago, however long the looks take.
    os.utime(file, (time.time() + 60,) * 2)
    await shelf_with(library, "MINE")
    figures = file.stat()
    file.write_bytes(file.read_bytes().replace(b"MINE", b"YOUR"))
    os.utime(file, ns=(figures.st_atime_ns, figures.st_mtime_ns))
    await shelf_with(library, "YOUR")


async def test_an_uninstall_that_fails_half_way_does_not_keep_the_preset_from_being_installed(
    settings: Settings, library: Library
) -> None:
    add_preset(settings)
    preset = await library.preset("MINE")

    async def uninstall() -> None:
        async with library.uninstalling(preset):
            with pytest.raises(Conflict):
                await library.request(preset)
            raise WorkspaceUnavailable("the volume went away")

    with pytest.raises(WorkspaceUnavailable):
        await uninstall()
    assert not await library.request(preset)


async def test_what_left_the_catalogue_is_known_as_long_as_it_is_installed(
    settings: Settings, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard.library, "CALL_SECONDS", 5.0)
    add_preset(settings)
    await library.request(await library.preset("MINE"))
    (settings.workspace / "config" / "presets.yaml").write_bytes(b"presets: [")
    library.forget()
    preset = await library.preset("MINE")
    assert [file.name for file in preset.files] == ["mine.ckpt"]
    async with library.uninstalling(preset):
        await library.remove_files(preset, [])
    with pytest.raises(NotFound):
        await library.preset("MINE")
