"""What a run used is remembered, also when the volume is away for a moment."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

import pytest
from msgspec.structs import replace

import dashboard.live.uses
from dashboard.library import Library
from dashboard.live.uses import UsesFeed
from dashboard.suite import cancel
from dashboard.volume import Volume
from services import volume as volumes
from services.artifacts import model_id
from services.comfyui_socket import Connected
from services.last_used import LastUsed
from services.runs import RunBook
from services.settings import Settings
from services.workspace import Workspace
from tests.services.fake_comfyui import FakeComfyUI

ID = model_id("loras", "a.ckpt")


class Marks(LastUsed):
    """Remembers what it was told."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.told: list[list[str]] = []

    def mark(self, ids: Iterable[str], at: float) -> None:
        self.told.append(list(ids))
        super().mark(self.told[-1], at)


@dataclass
class Uses:
    volume: Volume
    marks: Marks
    feed: UsesFeed
    book: RunBook

    async def run(self, name: str) -> None:
        """A run that used the LoRA `name`, and ended well."""
        run = await self.book.submit({"1": {"class_type": "LoraLoader", "inputs": {"lora_name": name}}}, "A title")
        self.feed.heard("finished", replace(run, state="success"), self.book)


@pytest.fixture
async def uses(settings: Settings, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Uses]:
    monkeypatch.setattr(dashboard.live.uses, "REST_SECONDS", 0.01)
    (workspace.models / "loras" / "a.ckpt").write_bytes(b"x")
    volume, marks = Volume(settings), Marks(workspace)
    library, feed = Library(settings, volume, {}), UsesFeed(volume, marks)
    await library.load()
    await until(lambda: library.newest().is_complete, library.shelf)
    book = RunBook(FakeComfyUI().comfyui(), lambda change, run: None)
    await book.handle(Connected("client"))
    keeping = asyncio.create_task(feed.keep(library))
    yield Uses(volume, marks, feed, book)
    await cancel([keeping])
    library.close()
    volume.close()


async def until(is_so: Callable[[], object], do: Callable[[], object] = lambda: None) -> None:
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        if asyncio.iscoroutine(doing := do()):
            await doing
        await asyncio.sleep(0.01)


async def test_what_a_run_used_is_kept(uses: Uses) -> None:
    before = time.time()
    await uses.run("a.ckpt")
    await until(uses.marks.all)
    assert before <= uses.marks.all()[ID] <= time.time()


async def test_what_was_used_while_the_volume_is_away_is_kept_when_it_is_back(
    uses: Uses, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = uses.volume.report
    uses.volume.report = volumes.hung(settings.workspace, 6.0)
    await uses.run("a.ckpt")
    await asyncio.sleep(0.1)
    assert uses.marks.told == []
    uses.volume.report = good
    await until(uses.marks.all)
    assert set(uses.marks.all()) == {ID}


async def test_a_model_that_is_not_here_has_nothing_written(uses: Uses) -> None:
    await uses.run("unknown.ckpt")
    await asyncio.sleep(0.1)
    await uses.run("a.ckpt")
    await until(uses.marks.all)
    assert uses.marks.told == [[ID]]
