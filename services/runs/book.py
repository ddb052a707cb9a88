"""Every prompt that waits, runs or ran, whoever submitted it."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec
from msgspec.structs import replace

from services import log
from services.comfyui import ComfyUI, Ending, Prompt, QueuedPrompt, QueueState
from services.comfyui_socket import OUR_CLIENTS, Connected, Disconnected, Event, Message, MimeType, Preview
from services.errors import ComfyUIUnavailable, Conflict, NotFound
from services.named_models import NamedModel
from services.runs.expected import Expected
from services.runs.following import Following
from services.runs.records import KEEP_RUNS, Content, Keeper, RunRecord, encode
from services.runs.run import (
    QueueView,
    Run,
    Told,
    ended,
    output_url,
    queue_view,
    started,
    title_of,
    vanished,
)
from services.workflows.document import Document, Graph

# How long a run waits for the socket that will tell of its progress, before it goes without.
CONNECT_SECONDS = 3.0
# What is sent along with a prompt so that the pictures carry it: a batch of large ones would fill ComfyUI's queue.
MAX_GRAPH_BYTES = 1024 * 1024

_log = log.get("comfyui_bridge")

Change = Literal["queue", "progress", "finished"]


class RunBook:
    """Follows ComfyUI's events and makes up for the missed ones.

    `on_change` hears of every change: `queue` (who waits and runs; no run given), `progress`, `finished`.
    `comfyui_start` tells when ComfyUI was started, in Unix seconds; None where that is not known. `pod`: whose runs
    these are.
    """

    def __init__(
        self,
        comfyui: ComfyUI,
        on_change: Callable[[Change, Run | None], None],
        keeper: Keeper | None = None,
        comfyui_start: Callable[[], float | None] = lambda: None,
        pod: str = "",
    ) -> None:
        self._comfyui = comfyui
        self._on_change = on_change
        self._keeper = keeper
        self._comfyui_start = comfyui_start
        self._pod = pod
        self._client_id = ""
        self._connections = 0
        self._connected = asyncio.Event()
        self._catching_up = asyncio.Lock()
        self._submitting: dict[str, asyncio.Event] = {}
        self._runs: dict[str, Run] = {}
        self._following: dict[str, Following] = {}
        # Of the newest run that was handed over: what ComfyUI may hold.
        self.held_models: frozenset[NamedModel] = frozenset()
        # Of other pods.
        self._others: set[str] = set()
        self._expected = Expected()
        # Set when `orphan` may be another one.
        self.orphan_changed = asyncio.Event()

    async def submit(
        self, prompt: Prompt, title: str, *, workflow: str | None = None, graph: Graph | None = None
    ) -> Run:
        """The one way in for every run. Raises WorkflowRefused, ComfyUIUnavailable."""
        prompt_id = await self.hand_over(prompt, title, workflow=workflow, graph=graph)
        await self.catch_up()
        return self.get(prompt_id)

    async def hand_over(
        self, prompt: Prompt, title: str, *, workflow: str | None = None, graph: Graph | None = None
    ) -> str:
        """As `submit`, for one of many: the queue is looked at after the last. The run's id."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._connected.wait(), CONNECT_SECONDS)
        prompt_id = str(uuid.uuid4())
        content = await asyncio.to_thread(encode, Content(prompt, graph)) if self._keeper else None
        sent = await asyncio.to_thread(_sent_along, graph)
        run = Run(
            prompt_id,
            title[:200],
            "pending",
            len(prompt),
            submitted_at=time.time(),
            workflow=workflow,
            can_run_again=self._keeper is None or content is not None,
        )
        # Known before it is sent: its first event may be faster than the answer.
        self._add(run, prompt, self._client_id)
        self.held_models = self.models(prompt_id)
        self._submitting[prompt_id] = asyncio.Event()
        try:
            await self._comfyui.submit(
                prompt, prompt_id=prompt_id, client_id=self._client_id, title=title[:200], graph=sent
            )
        except BaseException:
            self._forget([prompt_id])
            self._on_change("queue", None)
            raise
        finally:
            self._submitting.pop(prompt_id).set()
        _log.info("run_submitted", prompt_id=prompt_id, title=title, nodes=len(prompt))
        if self._keeper:
            await self._keeper.put(self._record(prompt_id), content)
        return prompt_id

    async def cancel(self, prompt_id: str) -> None:
        """Takes it out of the queue, or interrupts it if it is the one that runs.

        Raises NotFound, Conflict, ComfyUIUnavailable."""
        if self.get(prompt_id).is_over:
            return
        if prompt_id not in self._following:
            raise Conflict(f"run '{prompt_id[:60]}' is another machine's; cancel it there")
        if submission := self._submitting.get(prompt_id):
            await submission.wait()
        await self._comfyui.remove(prompt_id)
        # Asked last of all: what runs may be another one by now, and an old ComfyUI interrupts whatever that is.
        if any(queued.prompt_id == prompt_id for queued in (await self._comfyui.queue()).running):
            await self._comfyui.interrupt(prompt_id)
        await self.catch_up()

    async def clear(self) -> int:
        """Empties the queue of what waits; how many that were."""
        waiting = len((await self._comfyui.queue()).pending)
        await self._comfyui.clear_queue()
        await self.catch_up()
        return waiting

    def forget(self, prompt_id: str) -> None:
        """Raises NotFound, Conflict for one that is not over."""
        if not self.get(prompt_id).is_over:
            raise Conflict(f"run '{prompt_id[:60]}' is not over; cancel it first")
        self._forget([prompt_id])
        if self._keeper:
            self._keeper.drop([prompt_id])

    def get(self, prompt_id: str) -> Run:
        """Raises NotFound."""
        try:
            return self._now(self._runs[prompt_id])
        except KeyError:
            raise NotFound(f"there is no run '{prompt_id[:60]}'") from None

    async def document(self, prompt_id: str) -> Document:
        """What it ran. Raises NotFound, WorkspaceUnavailable."""
        self.get(prompt_id)
        if self._keeper is None:
            raise NotFound(f"what run '{prompt_id[:60]}' ran was not kept")
        return (await self._keeper.content(prompt_id)).document

    def of_output(self, path: str) -> Run | None:
        """The newest run that made the output `path`, relative to the output folder."""
        url = output_url(path)
        found = (run for run in self.recent() if any(output.url == url for output in run.outputs))
        return next(found, None)

    def models(self, prompt_id: str) -> frozenset[NamedModel]:
        """The model files that its prompt names; none of a run that is over or not known."""
        followed = self._following.get(prompt_id)
        return followed.models if followed else frozenset()

    def preview(self, prompt_id: str) -> tuple[MimeType, bytes]:
        """(MIME type, picture) of the newest preview. Raises NotFound."""
        followed = self._following.get(prompt_id)
        if followed is None or followed.preview is None:
            raise NotFound(f"run '{prompt_id[:60]}' has no preview")
        mime_type, image, _ = followed.preview
        return mime_type, image

    def recent(self) -> tuple[Run, ...]:
        """Newest first."""
        return tuple(self._now(run) for run in reversed(self._runs.values()))

    def queue(self) -> QueueView:
        """Of this pod's ComfyUI."""
        return queue_view([self._now(self._runs[id_]) for id_ in self._following])

    @property
    def is_idle(self) -> bool:
        """Nothing waits or runs in ComfyUI."""
        return not self._following

    @property
    def orphan(self) -> str | None:
        """The client id under which an earlier connection of ours submitted what runs: ComfyUI tells nobody else how
        that goes on."""
        for id_, followed in self._following.items():
            if self._runs[id_].state == "running" and followed.client_id not in {"", self._client_id}:
                return followed.client_id if followed.client_id.startswith(OUR_CLIENTS) else None
        return None

    def take(self, records: Iterable[RunRecord], contents: Mapping[str, Content]) -> None:
        """What was remembered: of this pod, to be followed on; of others, as it stands. What is known here of our own
        is not older. `contents`: of those that are to be followed on."""
        found = {record.run.prompt_id: record for record in records}
        gone = self._others - found.keys()
        known = {id_: run for id_, run in self._runs.items() if id_ not in gone}
        for id_, record in found.items():
            if record.pod != self._pod:
                self._others.add(id_)
                known[id_] = record.run
            elif id_ not in known:
                known[id_] = replace(record.run, preview_url=None)
                self._take_up(record, contents.get(id_))
            elif id_ in self._following:
                origin = {"title": record.run.title, "workflow": record.run.workflow}
                known[id_] = replace(known[id_], **origin, submitted_at=record.run.submitted_at)
        self._others -= gone
        before, ordered = self._runs, sorted(known.values(), key=lambda run: run.submitted_at)
        self._runs = {run.prompt_id: run for run in ordered}
        if self._runs != before:
            self._on_change("queue", None)

    def _take_up(self, record: RunRecord, content: Content | None) -> None:
        if record.run.state == "success":
            self._expected.learn(record.shape, record.node_seconds)
        if not record.run.is_over:
            prompt = content.prompt if content else {}
            self._following[record.run.prompt_id] = Following.of(prompt, "", record.comfyui or 0.0)

    async def handle(self, event: Event) -> None:
        match event:
            case Connected(client_id):
                self._client_id = client_id
                self._connections += 1
                self._connected.set()
                await self.catch_up()
            case Disconnected():
                self._client_id = ""
                self.held_models = frozenset()
                self._connected.clear()
                self._lose_what_went_with_comfyui()
            case Preview():
                self._show_preview(event)
            case Message(type="status") if self._submitting:
                # It is looked at once all have been handed over.
                pass
            case Message(type="status") | Message(type="executing", data={"node": None}):
                await self.catch_up()
            case Message():
                self._follow(event)

    async def catch_up(self) -> None:
        """Makes this book agree with ComfyUI's queue and history."""
        # One after the other: an older answer must not undo what a newer one said.
        async with self._catching_up:
            try:
                await self._agree()
            except ComfyUIUnavailable as error:
                _log.info("catch_up_postponed", reason=error.message)

    async def _agree(self) -> None:
        """Asks first and changes then, so that a question without an answer leaves the book as it was."""
        # Who must be in the answer: those that ComfyUI had accepted before it was asked.
        expected = [id_ for id_ in self._following if id_ not in self._submitting]
        comfyui = self._which_comfyui()
        state = await self._comfyui.queue()
        present = {queued.prompt_id for queued in (*state.running, *state.pending)}
        endings = {id_: await self._comfyui.ending(id_) for id_ in expected if id_ not in present}
        new = [queued for queued in (*state.running, *state.pending) if queued.prompt_id not in self._runs]
        changed = self._take_over(state, comfyui)
        for id_, ending in endings.items():
            if id_ in self._following:
                self._finish(id_, ending, comfyui)
        if changed or endings:
            self.orphan_changed.set()
            self._on_change("queue", None)
        for queued in new:
            await self._remember(queued)

    def _take_over(self, state: QueueState, comfyui: float) -> bool:
        """Moves runs forward only: events may have told more than `state` knows."""
        before = dict(self._runs)
        for queued in (*state.running, *state.pending):
            if queued.prompt_id not in self._runs:
                run = Run(queued.prompt_id, title_of(queued), "pending", len(queued.prompt), submitted_at=time.time())
                self._add(run, queued.prompt, "")
            if followed := self._following.get(queued.prompt_id):
                followed.comfyui = comfyui
                followed.client_id = str(queued.extra_data.get("client_id") or "")
        for queued in state.running:
            self._runs[queued.prompt_id] = started(self._runs[queued.prompt_id])
        for position, queued in enumerate(state.pending, start=1):
            run = self._runs[queued.prompt_id]
            if run.state == "pending":
                self._runs[run.prompt_id] = replace(run, position=position)
        return before != self._runs

    async def _remember(self, queued: QueuedPrompt) -> None:
        """One that came by another way than through us."""
        if self._keeper is None:
            return
        information = queued.extra_data.get("extra_pnginfo")
        graph = information.get("workflow") if isinstance(information, Mapping) else None
        content = Content(queued.prompt, graph if isinstance(graph, dict) else None)
        encoded = await asyncio.to_thread(encode, content)
        if queued.prompt_id not in self._runs:
            return
        if encoded is None:
            self._runs[queued.prompt_id] = replace(self._runs[queued.prompt_id], can_run_again=False)
        self._keeper.put_later(self._record(queued.prompt_id), encoded)

    def _follow(self, message: Message) -> None:
        try:
            told = msgspec.convert(message.data, Told)
        except msgspec.ValidationError:
            return
        followed = self._following.get(told.prompt_id)
        if followed is None:
            return
        self._runs[told.prompt_id] = followed.told(self._runs[told.prompt_id], message.type, told)
        self._on_change("progress", self.get(told.prompt_id))

    def _now(self, run: Run) -> Run:
        """`run` with what is left of it by now."""
        followed = self._following.get(run.prompt_id)
        if followed is None or run.state != "running":
            return run
        return replace(run, eta_seconds=self._expected.rest(followed.shape, followed.so_far(run)))

    def _lose_what_went_with_comfyui(self) -> None:
        """At once, and not when the next one has loaded its libraries."""
        start = self._comfyui_start() if self._following else None
        if start is None:
            return
        gone = [id_ for id_, followed in self._following.items() if 0 < followed.comfyui < start]
        for id_ in gone:
            self._finish(id_, None, start)
        if gone:
            self._on_change("queue", None)

    def _finish(self, prompt_id: str, ending: Ending | None, comfyui: float) -> None:
        run, followed = self._runs[prompt_id], self._following[prompt_id]
        followed.over(run)
        finished = ended(run, ending) if ending else vanished(run, restarted=followed.comfyui != comfyui)
        self._runs[prompt_id] = finished
        if finished.state == "success":
            self._expected.learn(followed.shape, followed.seconds)
        # Who looks for warnings finds the runs that failed.
        tell = _log.warning if finished.state in {"error", "lost"} else _log.info
        tell(
            "run_finished",
            prompt_id=prompt_id,
            state=finished.state,
            error=finished.error,
            seconds=finished.seconds,
        )
        if self._keeper:
            self._keeper.put_later(self._record(prompt_id))
        self._on_change("finished", finished)
        self._following.pop(prompt_id, None)

    def _record(self, prompt_id: str) -> RunRecord:
        run, followed = self._runs[prompt_id], self._following.get(prompt_id)
        kept = replace(run, preview_url=None, eta_seconds=None)
        if followed is None:
            return RunRecord(kept, self._pod)
        return RunRecord(kept, self._pod, followed.comfyui, followed.shape, dict(followed.seconds))

    def _show_preview(self, preview: Preview) -> None:
        run = self._run_of(preview)
        followed = self._following.get(run.prompt_id) if run else None
        if run is None or followed is None:
            return
        if (url := followed.shown(run, preview)) is not None:
            self._runs[run.prompt_id] = replace(run, preview_url=url)
            self._on_change("progress", self.get(run.prompt_id))

    def _run_of(self, preview: Preview) -> Run | None:
        if preview.prompt_id is not None:
            return self._runs.get(preview.prompt_id)
        return next((self._runs[id_] for id_ in self._following if self._runs[id_].state == "running"), None)

    def _add(self, run: Run, prompt: Prompt, client_id: str) -> None:
        self._runs[run.prompt_id] = run
        self._following[run.prompt_id] = Following.of(prompt, client_id, self._which_comfyui())
        over = [known.prompt_id for known in self._runs.values() if known.is_over]
        if old := over[: max(len(self._runs) - KEEP_RUNS, 0)]:
            self._forget(old)
            if self._keeper:
                self._keeper.drop(old)

    def _which_comfyui(self) -> float:
        """When it was started; where that is not known, which connection to it this is."""
        start = self._comfyui_start()
        return -float(self._connections) if start is None else start

    def _forget(self, prompt_ids: list[str]) -> None:
        for prompt_id in prompt_ids:
            self._runs.pop(prompt_id, None)
            self._following.pop(prompt_id, None)
            self._others.discard(prompt_id)


def _sent_along(graph: Graph | None) -> Graph | None:
    if graph is None or len(msgspec.json.encode(graph)) > MAX_GRAPH_BYTES:
        return None
    return graph
