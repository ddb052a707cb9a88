"""Remembers runs on the volume, without ever holding one up: what the volume does not take now, it takes later."""

import asyncio
import contextlib
import time
from dataclasses import dataclass

import msgspec

from dashboard.volume import Volume
from services import log
from services.errors import NotEnoughSpace, NotFound, SuiteError, WorkspaceUnavailable
from services.runs import Content, RunBook, RunRecord, RunRecords
from services.runs.records import BEAT_SECONDS

# How long an accepted run waits to be remembered, before it goes on without.
PATIENCE_SECONDS = 1.0
RETRY_SECONDS = 5.0
# Of prompts that wait for the volume. Those beyond are kept without.
MAX_WAITING_BYTES = 32 * 1024 * 1024
MAX_WAITING = 1000

_log = log.get("comfyui_bridge")


@dataclass
class _Waiting:
    record: RunRecord
    content: bytes | None


class RunKeeper:
    """Writes one record after the other, the newest of each run. Someone has to `follow`."""

    def __init__(self, volume: Volume, records: RunRecords) -> None:
        self._volume = volume
        self._records = records
        self._waiting: dict[str, _Waiting] = {}
        self._dropped: list[str] = []
        self._news = asyncio.Event()
        self._quiet = asyncio.Event()
        self._is_failing = False
        self._loaded_at: float | None = None

    async def put(self, record: RunRecord, content: bytes | None) -> None:
        self._add(record, content)
        if self._is_failing:
            return
        try:
            await asyncio.wait_for(self._quiet.wait(), PATIENCE_SECONDS)
        except TimeoutError:
            self._failed("the volume is slow")

    def put_later(self, record: RunRecord, content: bytes | None = None) -> None:
        self._add(record, content)

    def drop(self, prompt_ids: list[str]) -> None:
        for prompt_id in prompt_ids:
            self._waiting.pop(prompt_id, None)
        self._dropped += prompt_ids
        self._wake()

    async def content(self, prompt_id: str) -> Content:
        """Raises NotFound, WorkspaceUnavailable."""
        waiting = self._waiting.get(prompt_id)
        if waiting and waiting.content is not None:
            return msgspec.json.decode(waiting.content, type=Content)
        return await self._volume.run(self._records.content, prompt_id)

    async def follow(self, book: RunBook) -> None:
        """For ever."""
        while True:
            if await self._written() and await self._loaded(book) and not self._waiting:
                self._quiet.set()
            pause = RETRY_SECONDS if self._is_failing else BEAT_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), pause)
            if self._is_failing:
                await asyncio.sleep(RETRY_SECONDS)
            self._news.clear()

    async def _loaded(self, book: RunBook) -> bool:
        """Tells that this pod lives, and looks what others do."""
        now = time.monotonic()
        if self._loaded_at is not None and now - self._loaded_at < BEAT_SECONDS:
            return True
        try:
            records, contents = await self._volume.see_through(self._read, self._loaded_at is None, not book.is_idle)
        except (WorkspaceUnavailable, NotEnoughSpace) as error:
            self._failed(error.message)
            return False
        self._loaded_at = now
        # What was forgotten meanwhile does not come back.
        book.take([record for record in records if record.run.prompt_id not in self._dropped], contents)
        return True

    def _read(self, is_first: bool, is_busy: bool) -> tuple[list[RunRecord], dict[str, Content]]:
        if is_busy or is_first:
            # A volume that cannot be written is read all the same.
            with contextlib.suppress(OSError):
                self._records.beat()
                if is_first:
                    self._records.trim()
        records, contents = self._records.all(), {}
        for record in records if is_first else ():
            if not record.run.is_over and record.pod == self._records.pod:
                with contextlib.suppress(NotFound):
                    contents[record.run.prompt_id] = self._records.content(record.run.prompt_id)
        return records, contents

    async def _written(self) -> bool:
        """Whether nothing waits any more."""
        while self._waiting or self._dropped:
            try:
                if dropped := list(self._dropped):
                    await self._volume.see_through(self._records.delete, dropped, writes=True)
                    del self._dropped[: len(dropped)]
                for prompt_id, waiting in list(self._waiting.items()):
                    await self._write(prompt_id, waiting)
            except (WorkspaceUnavailable, NotEnoughSpace) as error:
                self._failed(error.message)
                return False
        self._is_failing = False
        return True

    async def _write(self, prompt_id: str, waiting: _Waiting) -> None:
        record, content = waiting.record, waiting.content
        try:
            await self._volume.see_through(self._records.put, record, content, writes=True)
        except (WorkspaceUnavailable, NotEnoughSpace):
            raise
        except SuiteError as error:
            # A name that someone else's program gave it, and no file can have.
            _log.warning("run_not_kept", prompt_id=prompt_id[:60], reason=error.message)
        if self._waiting.get(prompt_id) is not waiting:
            return
        if waiting.record is record:
            del self._waiting[prompt_id]
        elif waiting.content is content:
            waiting.content = None

    def _add(self, record: RunRecord, content: bytes | None) -> None:
        prompt_id = record.run.prompt_id
        held = sum(len(waiting.content or b"") for waiting in self._waiting.values())
        if content is not None and held + len(content) > MAX_WAITING_BYTES:
            content = None
        if waiting := self._waiting.get(prompt_id):
            waiting.record, waiting.content = record, content or waiting.content
        elif len(self._waiting) < MAX_WAITING:
            self._waiting[prompt_id] = _Waiting(record, content)
        self._wake()

    def _wake(self) -> None:
        self._quiet.clear()
        self._news.set()

    def _failed(self, reason: str) -> None:
        if not self._is_failing:
            _log.warning("runs_not_kept", reason=reason)
        self._is_failing = True
