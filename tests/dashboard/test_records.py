"""Runs are remembered, and nothing waits for a volume that does not answer."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import msgspec
import pytest

from dashboard import records as keeping
from dashboard.records import RunKeeper
from dashboard.suite import cancel
from dashboard.volume import Volume
from services import volume as volumes
from services.errors import NotEnoughSpace
from services.runs import Content, Run, RunBook, RunRecord, RunRecords, RunState
from services.settings import Settings
from services.workspace import Workspace
from tests.services.fake_comfyui import FakeComfyUI

CONTENT = Content({"1": {"class_type": "EmptyImage", "inputs": {}}})
ENCODED = msgspec.json.encode(CONTENT)


def record(prompt_id: str, state: RunState = "success", at: float = 1.0) -> RunRecord:
    return RunRecord(Run(prompt_id, "A title", state, 1, submitted_at=at), "ours", 100.0)


class Counted(RunRecords):
    """`trouble` is raised instead of writing; `pause_seconds` is how slow the volume is."""

    trouble: Exception | None = None
    pause_seconds = 0.0
    written = 0

    def put(self, record: RunRecord, content: bytes | None) -> None:
        time.sleep(self.pause_seconds)
        if self.trouble is not None:
            raise self.trouble
        self.written += 1
        super().put(record, content)


@dataclass
class Kept:
    volume: Volume
    records: Counted
    keeper: RunKeeper
    book: RunBook


@pytest.fixture
async def kept(settings: Settings, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kept]:
    monkeypatch.setattr(keeping, "RETRY_SECONDS", 0.05)
    volume, records = Volume(settings), Counted(workspace, "ours")
    keeper = RunKeeper(volume, records)
    book = RunBook(FakeComfyUI().comfyui(), lambda change, run: None, keeper, lambda: 100.0, "ours")
    following = asyncio.create_task(keeper.follow(book))
    yield Kept(volume, records, keeper, book)
    await cancel([following])
    volume.close()


async def until(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def test_a_run_is_on_the_volume_when_it_was_put(kept: Kept) -> None:
    await kept.keeper.put(record("a", "pending"), ENCODED)
    assert [one.run.prompt_id for one in kept.records.all()] == ["a"]
    assert await kept.keeper.content("a") == CONTENT


async def test_the_newest_record_of_a_run_is_the_one_that_stays(kept: Kept) -> None:
    kept.records.pause_seconds = 0.02
    first = asyncio.create_task(kept.keeper.put(record("a", "pending"), ENCODED))
    await asyncio.sleep(0.01)
    for state in ("running", "success"):
        kept.keeper.put_later(record("a", state))
    await first
    await until(lambda: [one.run.state for one in kept.records.all()] == ["success"])
    assert await kept.keeper.content("a") == CONTENT


async def test_remembered_runs_come_into_the_book(kept: Kept, workspace: Workspace) -> None:
    await until(lambda: kept.keeper._loaded_at)
    RunRecords(workspace, "theirs").put(RunRecord(Run("b", "Theirs", "success", 1), "theirs"), ENCODED)
    kept.keeper._loaded_at = -1000.0
    kept.keeper.put_later(record("a"))
    await until(lambda: {run.prompt_id for run in kept.book.recent()} >= {"b"})


async def test_a_volume_that_is_away_gets_the_runs_when_it_is_back(kept: Kept, settings: Settings) -> None:
    await until(lambda: kept.keeper._loaded_at)
    good, kept.volume.report = kept.volume.report, volumes.hung(settings.workspace, 6.0)
    for number in range(20):
        # None of them waits for it.
        await kept.keeper.put(record(f"r{number}"), ENCODED)
    assert kept.records.written == 0
    assert await kept.keeper.content("r3") == CONTENT
    kept.volume.report = good
    await until(lambda: len(kept.records.all()) == 20)


async def test_a_full_volume_gets_the_runs_when_there_is_room(kept: Kept) -> None:
    kept.records.trouble = NotEnoughSpace("no space left")
    await kept.keeper.put(record("a"), ENCODED)
    assert kept.records.written == 0
    kept.records.trouble = None
    await until(lambda: kept.records.written)


async def test_a_slow_volume_holds_up_the_first_run_only(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "PATIENCE_SECONDS", 0.05)
    kept.records.pause_seconds = 0.5
    await kept.keeper.put(record("a"), ENCODED)
    assert kept.keeper._is_failing
    for number in range(5):
        await kept.keeper.put(record(f"r{number}"), ENCODED)
    assert kept.records.written == 0
    kept.records.pause_seconds = 0.0
    await until(lambda: kept.records.written == 6)


async def test_a_name_that_no_file_can_have_stops_nothing(kept: Kept) -> None:
    await kept.keeper.put(record("../x"), ENCODED)
    await kept.keeper.put(record("a"), ENCODED)
    assert [one.run.prompt_id for one in kept.records.all()] == ["a"]


async def test_what_is_forgotten_is_gone_from_the_volume(kept: Kept) -> None:
    await kept.keeper.put(record("a"), ENCODED)
    kept.keeper.drop(["a", "never there"])
    await until(lambda: kept.records.all() == [])


async def test_what_is_forgotten_while_the_volume_is_away_goes_when_it_is_back(kept: Kept, settings: Settings) -> None:
    await kept.keeper.put(record("a"), ENCODED)
    good, kept.volume.report = kept.volume.report, volumes.hung(settings.workspace, 6.0)
    kept.keeper.drop(["a"])
    await until(lambda: kept.keeper._is_failing)
    kept.volume.report = good
    await until(lambda: kept.records.all() == [])


async def test_what_is_forgotten_while_the_volume_is_read_does_not_come_back(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept.keeper.put(record("a"), ENCODED)
    await until(lambda: kept.keeper._loaded_at)
    reading, found = threading.Event(), kept.records.all()

    def slowly() -> list[RunRecord]:
        reading.set()
        time.sleep(0.1)
        return found

    monkeypatch.setattr(kept.records, "all", slowly)
    kept.keeper._loaded_at = -1000.0
    kept.keeper.put_later(record("b"))
    await until(reading.is_set)
    kept.keeper.drop(["a"])
    await until(lambda: (kept.keeper._loaded_at or 0) > 0)
    assert "a" not in {run.prompt_id for run in kept.book.recent()}


async def test_forgetting_a_name_that_no_file_can_have_stops_nothing(kept: Kept) -> None:
    kept.keeper.drop(["../x"])
    await kept.keeper.put(record("a"), ENCODED)
    assert [one.run.prompt_id for one in kept.records.all()] == ["a"]


async def test_prompts_that_wait_for_the_volume_are_bounded(
    kept: Kept, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "MAX_WAITING_BYTES", 3 * len(ENCODED))
    await until(lambda: kept.keeper._loaded_at)
    kept.volume.report = volumes.hung(settings.workspace, 6.0)
    for number in range(10):
        await kept.keeper.put(record(f"r{number}"), ENCODED)
    held = [waiting for waiting in kept.keeper._waiting.values() if waiting.content is not None]
    assert (len(held), len(kept.keeper._waiting)) == (3, 10)
