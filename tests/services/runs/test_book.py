import asyncio
from typing import Any

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from services.comfyui_socket import Connected, Disconnected, Message, Preview
from services.errors import ComfyUIUnavailable, Conflict, NotFound, WorkflowRefused
from services.runs import Change, Content, QueueItem, Run, RunBook, RunRecord, RunState, records
from services.runs import book as runs
from services.runs.expected import shape_of
from tests.services.fake_comfyui import FakeComfyUI

PROMPT: dict[str, dict[str, Any]] = {
    "1": {"class_type": "LoadImage", "inputs": {}},
    "2": {"class_type": "KSampler", "inputs": {}},
    "3": {"class_type": "VAEDecode", "inputs": {}},
    "4": {"class_type": "SaveImage", "inputs": {}},
}


class Memory:
    """A keeper whose volume is a dictionary."""

    def __init__(self) -> None:
        self.records: dict[str, RunRecord] = {}
        self.contents: dict[str, Content] = {}

    async def put(self, record: RunRecord, content: bytes | None) -> None:
        self.put_later(record, content)

    def put_later(self, record: RunRecord, content: bytes | None = None) -> None:
        self.records[record.run.prompt_id] = record
        if content is not None:
            self.contents[record.run.prompt_id] = msgspec.json.decode(content, type=Content)

    def drop(self, prompt_ids: list[str]) -> None:
        for prompt_id in prompt_ids:
            del self.records[prompt_id]

    async def content(self, prompt_id: str) -> Content:
        return self.contents[prompt_id]


class Book(RunBook):
    """Remembers what it told others."""

    def __init__(self, fake: FakeComfyUI, keeper: "Memory | None" = None, start: float | None = None) -> None:
        self.told: list[tuple[Change, Run | None]] = []
        self.start = start
        super().__init__(
            fake.comfyui(),
            lambda change, run: self.told.append((change, run)),
            keeper,
            lambda: self.start,
            "our pod",
        )

    def endings(self) -> list[Run]:
        return [run for change, run in self.told if change == "finished" and run is not None]


@pytest.fixture
def fake() -> FakeComfyUI:
    return FakeComfyUI()


@pytest.fixture
async def book(fake: FakeComfyUI) -> Book:
    made = Book(fake)
    await made.handle(Connected("client"))
    return made


async def running(book: Book, fake: FakeComfyUI) -> str:
    """The id of a run of PROMPT that has just begun."""
    run = await book.submit(PROMPT, "A title")
    fake.start(run.prompt_id)
    await book.handle(Message("execution_start", {"prompt_id": run.prompt_id}))
    return run.prompt_id


async def tell(book: Book, prompt_id: str, *messages: tuple[str, dict[str, Any]]) -> Run:
    for type_, data in messages:
        await book.handle(Message(type_, {"prompt_id": prompt_id, **data}))
    return book.get(prompt_id)


# From submission to end


async def test_a_submitted_run_waits_its_turn(book: Book, fake: FakeComfyUI) -> None:
    run = await book.submit(PROMPT, "A title")
    assert (run.state, run.position, run.title, run.nodes_total) == ("pending", 1, "A title", 4)
    assert fake.submitted[0]["client_id"] == "client"
    assert book.queue().pending == (QueueItem(run.prompt_id, "A title", 1),)


async def test_a_run_that_begins_is_running(book: Book, fake: FakeComfyUI) -> None:
    run = book.get(await running(book, fake))
    assert (run.state, run.position) == ("running", None)
    assert run.started_at is not None
    assert [known.prompt_id for known in book.queue().running] == [run.prompt_id]


async def test_a_run_says_which_node_is_at_work(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    run = await tell(book, id_, ("executing", {"node": "2", "display_node": "2"}))
    assert (run.node_id, run.node_class) == ("2", "KSampler")


async def test_a_run_says_which_step_it_is_at(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    run = await tell(book, id_, ("executing", {"node": "2"}), ("progress", {"node": "2", "value": 5, "max": 20}))
    assert (run.step, run.steps) == (5, 20)


async def test_the_steps_of_one_node_are_not_the_nexts(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    run = await tell(
        book, id_, ("executing", {"node": "2"}), ("progress", {"value": 20, "max": 20}), ("executing", {"node": "3"})
    )
    assert (run.node_class, run.step, run.steps) == ("VAEDecode", None, None)


@pytest.mark.parametrize(
    ("messages", "nodes_done", "progress"),
    [
        ([("executing", {"node": "1"})], 0, 0.0),
        ([("execution_cached", {"nodes": ["1"]})], 1, 25.0),
        ([("executing", {"node": "1"}), ("executing", {"node": "2"})], 1, 25.0),
        ([("executed", {"node": "1"}), ("executing", {"node": "2"}), ("progress", {"value": 1, "max": 2})], 1, 37.5),
        ([("progress_state", {"nodes": {"1": {"state": "finished"}, "2": {"state": "running"}}})], 1, 25.0),
        ([("executed", {"node": "1"}), ("executed", {"node": "1"})], 1, 25.0),
        ([("execution_cached", {"nodes": ["1", "2", "3", "4", "inner"]})], 4, 100.0),
        ([("progress", {"value": 0, "max": 0})], 0, 0.0),
    ],
)
async def test_progress_counts_nodes_and_the_steps_of_the_present_one(
    messages: list[tuple[str, dict[str, Any]]], nodes_done: int, progress: float, book: Book, fake: FakeComfyUI
) -> None:
    run = await tell(book, await running(book, fake), *messages)
    assert (run.nodes_done, run.progress) == (nodes_done, progress)


async def test_progress_never_goes_back(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    for node in "1234":
        await tell(book, id_, ("executing", {"node": node}), ("progress", {"value": 1, "max": 2}))
        await tell(book, id_, ("progress", {"value": 2, "max": 2}), ("executed", {"node": node}))
    seen = [run.progress for change, run in book.told if change == "progress" and run]
    assert seen == sorted(seen)
    assert seen[-1] == 100.0


async def test_a_bar_that_a_node_starts_anew_does_not_turn_progress_back(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    await tell(book, id_, ("executing", {"node": "2"}), ("progress", {"value": 10, "max": 10}))
    run = await tell(book, id_, ("progress", {"value": 1, "max": 10}))
    assert (run.step, run.progress) == (1, 25.0)


async def test_nodes_that_a_node_makes_are_not_counted(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    inner = {f"2.0.{number}": {"state": "finished"} for number in range(10)}
    run = await tell(book, id_, ("progress_state", {"nodes": {"1": {"state": "finished"}, **inner}}))
    assert (run.nodes_done, run.progress) == (1, 25.0)


@pytest.mark.parametrize(
    "message",
    [
        ("progress", {"value": None, "max": 2}),
        ("progress", {"value": "1", "max": 2}),
        ("progress", {"value": -1, "max": 2}),
        ("progress", {"value": 1e300, "max": 1e300}),
        ("progress_state", {"nodes": {"1": None}}),
        ("execution_cached", {"nodes": [1]}),
        ("executed", {"node": ["1"]}),
        ("executing", {"node": 1}),
    ],
)
async def test_an_event_that_makes_no_sense_changes_nothing(
    message: tuple[str, dict[str, Any]], book: Book, fake: FakeComfyUI
) -> None:
    id_ = await running(book, fake)
    before = book.get(id_)
    assert await tell(book, id_, message) == before
    await book.handle(Message("executing", {"node": "1", "prompt_id": ["no", "id"]}))


async def test_a_run_that_succeeds_has_its_outputs(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    outputs = {
        "4": {
            "images": [
                {"filename": "a b_1.png", "subfolder": "images", "type": "output"},
                {"filename": "c.mp4", "subfolder": "", "type": "temp"},
            ]
        }
    }
    fake.end(
        id_,
        ["execution_start", {"timestamp": 1000}],
        ["execution_success", {"timestamp": 2500}],
        outputs=outputs,
    )
    await book.handle(Message("status", {}))
    run = book.get(id_)
    assert (run.state, run.progress, run.nodes_done, run.seconds, run.error) == ("success", 100.0, 4, 1.5, None)
    assert [(output.url, output.media) for output in run.outputs] == [
        ("/outputs/images/a%20b_1.png", "image"),
        ("/temp/c.mp4", "video"),
    ]
    assert book.endings() == [run]


async def test_a_run_is_over_as_soon_as_no_node_is_at_work(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    fake.end(id_)
    assert (await tell(book, id_, ("executing", {"node": None}))).state == "success"


async def test_a_run_that_fails_says_why(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    failure = {"node_id": "2", "node_type": "KSampler", "exception_message": "out of memory"}
    fake.end(id_, ["execution_error", failure], status="error")
    await book.handle(Message("status", {}))
    assert (book.get(id_).state, book.get(id_).error) == ("error", "node 2 (KSampler): out of memory")
    assert book.get(id_).progress < 100


async def test_a_run_that_is_over_stays_over(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    fake.end(id_)
    await book.handle(Message("status", {}))
    ended = book.get(id_)
    await tell(book, id_, ("progress", {"value": 1, "max": 2}), ("executing", {"node": "1"}))
    await book.handle(Preview("image/png", b"late", id_, "2"))
    assert book.get(id_) == ended


async def test_an_event_of_a_run_nobody_knows_is_passed_over(book: Book) -> None:
    await book.handle(Message("executing", {"node": "1", "prompt_id": "unknown"}))
    await book.handle(Message("executing", {"node": "1"}))
    await book.handle(Message("crystools.monitor", {"cpu": 1}))
    assert book.recent() == ()


async def test_a_refused_run_leaves_no_trace(book: Book, fake: FakeComfyUI) -> None:
    fake.instead = JSONResponse({"error": {"message": "Prompt has no outputs"}, "node_errors": {}}, 400)
    with pytest.raises(WorkflowRefused):
        await book.submit(PROMPT, "A title")
    assert book.recent() == ()
    # Whoever asked meanwhile saw it wait.
    assert book.told[-1] == ("queue", None)


async def test_a_run_that_could_not_be_handed_over_leaves_no_trace(book: Book, fake: FakeComfyUI) -> None:
    fake.instead = PlainTextResponse("500", 500)
    with pytest.raises(ComfyUIUnavailable):
        await book.submit(PROMPT, "A title")
    assert book.recent() == ()


async def test_a_run_goes_without_the_socket_when_it_takes_too_long(
    fake: FakeComfyUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "CONNECT_SECONDS", 0.01)
    assert (await Book(fake).submit(PROMPT, "A title")).state == "pending"


async def test_a_run_waits_a_moment_for_the_socket(fake: FakeComfyUI) -> None:
    book = Book(fake)
    submission = asyncio.create_task(book.submit(PROMPT, "A title"))
    await asyncio.sleep(0)
    await book.handle(Connected("late"))
    await submission
    assert fake.submitted[0]["client_id"] == "late"


class SlowToAccept(FakeComfyUI):
    """Has the prompt, and starts on it, before it says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    async def _prompt(self, request: Request) -> Response:
        self.asked.set()
        await self.go_on.wait()
        answer = await super()._prompt(request)
        self.start(self.submitted[-1]["prompt_id"])
        return answer


async def test_a_status_message_during_a_submission_does_not_end_the_run() -> None:
    fake = SlowToAccept()
    book = Book(fake)
    await book.handle(Connected("client"))
    submission = asyncio.create_task(book.submit(PROMPT, "A title"))
    await fake.asked.wait()
    await book.handle(Message("status", {}))
    fake.go_on.set()
    assert (await submission).state == "running"
    assert book.endings() == []


class SlowToAnswer(FakeComfyUI):
    """Looks at its queue, and tells later what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.looked, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    async def _queue(self, request: Request) -> Response:
        answer = await super()._queue(request)
        self.looked.set()
        await self.go_on.wait()
        return answer


async def test_an_answer_from_before_a_submission_does_not_end_the_run() -> None:
    fake = SlowToAnswer()
    book = Book(fake)
    await book.handle(Connected("client"))
    fake.looked.clear()
    fake.go_on.clear()
    catching_up = asyncio.create_task(book.catch_up())
    await fake.looked.wait()
    submission = asyncio.create_task(book.submit(PROMPT, "A title"))
    while not fake.pending:
        await asyncio.sleep(0)
    fake.go_on.set()
    await catching_up
    assert (await submission).state == "pending"
    assert book.endings() == []


async def test_an_event_is_not_undone_by_an_answer_from_before_it() -> None:
    fake = SlowToAnswer()
    book = Book(fake)
    await book.handle(Connected("client"))
    id_ = (await book.submit(PROMPT, "A title")).prompt_id
    fake.looked.clear()
    fake.go_on.clear()
    catching_up = asyncio.create_task(book.catch_up())
    await fake.looked.wait()
    await tell(book, id_, ("execution_start", {}))
    fake.go_on.set()
    await catching_up
    assert book.get(id_).state == "running"


# What was missed


async def test_runs_of_others_are_found(book: Book, fake: FakeComfyUI) -> None:
    fake.enqueue("theirs", PROMPT)
    fake.enqueue("named", PROMPT, title="From a script")
    fake.start("theirs")
    await book.handle(Message("status", {}))
    assert (book.get("theirs").state, book.get("theirs").title) == ("running", "ComfyUI editor")
    assert (book.get("named").state, book.get("named").title) == ("pending", "From a script")
    assert book.told[-1] == ("queue", None)


async def test_a_title_that_is_no_text_is_none(book: Book, fake: FakeComfyUI) -> None:
    fake.enqueue("theirs", PROMPT, title={"a": 1})
    await book.catch_up()
    assert book.get("theirs").title == "ComfyUI editor"


async def test_positions_move_up(book: Book, fake: FakeComfyUI) -> None:
    for id_ in "abc":
        fake.enqueue(id_, PROMPT)
    await book.catch_up()
    assert [book.get(id_).position for id_ in "abc"] == [1, 2, 3]
    fake.start("a")
    await book.catch_up()
    assert [book.get(id_).position for id_ in "abc"] == [None, 1, 2]


async def test_a_run_that_ended_while_nobody_listened_is_finished(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    await book.handle(Disconnected())
    fake.end(id_)
    await book.handle(Connected("again"))
    assert book.get(id_).state == "success"


async def test_a_run_is_lost_when_comfyui_restarted(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    await book.handle(Disconnected())
    fake.restart()
    await book.handle(Connected("again"))
    assert (book.get(id_).state, book.get(id_).error) == ("lost", "ComfyUI restarted while this ran")


async def test_a_run_that_someone_took_out_of_the_queue_is_interrupted(book: Book, fake: FakeComfyUI) -> None:
    run = await book.submit(PROMPT, "A title")
    fake.pending.clear()
    await book.handle(Message("status", {}))
    assert (book.get(run.prompt_id).state, book.get(run.prompt_id).error) == ("interrupted", None)


async def test_a_run_that_waited_is_lost_when_comfyui_restarted(book: Book, fake: FakeComfyUI) -> None:
    id_ = (await book.submit(PROMPT, "A title")).prompt_id
    await book.handle(Disconnected())
    fake.restart()
    await book.handle(Connected("again"))
    assert (book.get(id_).state, book.get(id_).error) == ("lost", "ComfyUI restarted before this ran")


async def test_a_run_that_was_taken_out_while_nobody_listened_is_interrupted(fake: FakeComfyUI) -> None:
    book = Book(fake, start=100.0)
    await book.handle(Connected("client"))
    id_ = (await book.submit(PROMPT, "A title")).prompt_id
    await book.handle(Disconnected())
    fake.pending.clear()
    await book.handle(Connected("again"))
    assert book.get(id_).state == "interrupted"


async def test_runs_are_lost_as_soon_as_another_comfyui_is_started(fake: FakeComfyUI) -> None:
    book = Book(fake, start=100.0)
    await book.handle(Connected("client"))
    id_ = await running(book, fake)
    waiting = (await book.submit(PROMPT, "A title")).prompt_id
    fake.instead = PlainTextResponse("502", 502)
    await book.handle(Disconnected())
    assert book.get(id_).state == "running"
    book.start = 200.0
    await book.handle(Disconnected())
    assert (book.get(id_).state, book.get(waiting).state) == ("lost", "lost")
    assert book.told[-1] == ("queue", None)


async def test_a_run_whose_end_was_removed_from_the_history_is_lost(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    fake.restart()
    await book.catch_up()
    assert book.get(id_).state == "lost"
    assert "history was emptied" in str(book.get(id_).error)


async def test_nothing_ends_while_comfyui_does_not_answer(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    fake.instead = PlainTextResponse("503", 503)
    await book.handle(Disconnected())
    await book.catch_up()
    assert book.get(id_).state == "running"


async def test_catching_up_on_nothing_new_tells_nobody(book: Book, fake: FakeComfyUI) -> None:
    fake.enqueue("a", PROMPT)
    await book.catch_up()
    book.told.clear()
    await book.catch_up()
    assert book.told == []


async def test_an_ending_is_told_once_however_many_notice_it(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    fake.end(id_)
    await asyncio.gather(*(book.catch_up() for _ in range(3)))
    assert [run.prompt_id for run in book.endings()] == [id_]


# Cancelling


async def test_a_waiting_run_is_taken_out_of_the_queue(book: Book, fake: FakeComfyUI) -> None:
    first, second = await book.submit(PROMPT, "1"), await book.submit(PROMPT, "2")
    await book.cancel(first.prompt_id)
    assert book.get(first.prompt_id).state == "interrupted"
    assert [row[1] for row in fake.pending] == [second.prompt_id]
    assert book.get(second.prompt_id).position == 1


async def test_a_running_run_is_interrupted(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    await book.cancel(id_)
    assert book.get(id_).state == "interrupted"


async def test_a_run_that_is_over_cannot_be_cancelled_twice(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    fake.end(id_)
    await book.catch_up()
    await book.cancel(id_)
    assert book.get(id_).state == "success"


async def test_a_run_nobody_knows_cannot_be_cancelled(book: Book) -> None:
    with pytest.raises(NotFound, match="unknown"):
        await book.cancel("unknown")


async def test_clearing_the_queue_leaves_what_runs(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    waiting = [(await book.submit(PROMPT, "x")).prompt_id for _ in range(2)]
    assert await book.clear() == 2
    assert book.get(id_).state == "running"
    assert {book.get(other).state for other in waiting} == {"interrupted"}


# Previews


async def test_a_preview_belongs_to_its_run(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    await book.handle(Preview("image/png", b"picture", id_, "2"))
    assert book.preview(id_) == ("image/png", b"picture")
    assert str(book.get(id_).preview_url).startswith(f"/api/runs/{id_}/preview")


async def test_a_preview_without_a_name_belongs_to_what_runs(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    await book.handle(Preview("image/jpeg", b"picture", None, None))
    assert book.preview(id_)[1] == b"picture"


async def test_a_preview_of_a_run_nobody_knows_is_not_anothers(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    await book.handle(Preview("image/jpeg", b"picture", "unknown", "2"))
    assert book.get(id_).preview_url is None


async def test_previews_come_four_times_a_second_at_most(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    book.told.clear()
    for number in range(20):
        await book.handle(Preview("image/png", bytes([number]), id_, "2"))
    assert len(book.told) == 1


async def test_a_preview_goes_with_its_run(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    await book.handle(Preview("image/png", b"picture", id_, "2"))
    fake.end(id_)
    await book.catch_up()
    assert book.get(id_).preview_url is None
    with pytest.raises(NotFound):
        book.preview(id_)


async def test_a_preview_while_nothing_runs_is_passed_over(book: Book) -> None:
    await book.handle(Preview("image/png", b"picture", None, None))
    assert book.told == []


# What is remembered


async def test_the_newest_run_comes_first(book: Book) -> None:
    ids = [(await book.submit(PROMPT, str(number))).prompt_id for number in range(3)]
    assert [run.prompt_id for run in book.recent()] == ids[::-1]


async def test_old_runs_are_forgotten_and_waiting_ones_never(
    book: Book, fake: FakeComfyUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "KEEP_RUNS", 20)
    waiting = (await book.submit(PROMPT, "waiting")).prompt_id
    for number in range(30):
        fake.enqueue(f"old-{number}", PROMPT)
        await book.catch_up()
        fake.pending.pop()
        fake.history[f"old-{number}"] = {"outputs": {}, "status": {"status_str": "success"}}
        await book.catch_up()
    known = [run.prompt_id for run in book.recent()]
    assert waiting in known
    assert len(known) <= 21
    assert "old-0" not in known
    assert "old-29" in known


async def test_a_run_is_recorded_when_it_was_accepted_and_when_it_is_over(fake: FakeComfyUI) -> None:
    memory = Memory()
    book = Book(fake, memory, start=100.0)
    await book.handle(Connected("client"))
    graph: dict[str, Any] = {"nodes": [], "links": []}
    run = await book.submit(PROMPT, "A title", workflow="mine", graph=graph)
    kept = memory.records[run.prompt_id]
    assert (kept.run.state, kept.run.workflow, kept.pod, kept.comfyui) == ("pending", "mine", "our pod", 100.0)
    assert memory.contents[run.prompt_id] == Content(PROMPT, graph)
    assert fake.submitted[0]["extra_data"]["extra_pnginfo"] == {"workflow": graph}
    fake.end(run.prompt_id)
    fake.pending.clear()
    await book.catch_up()
    assert memory.records[run.prompt_id].run.state == "success"
    document = await book.document(run.prompt_id)
    assert (document.prompt, document.graph) == (PROMPT, graph)


async def test_a_refused_run_is_not_recorded(fake: FakeComfyUI) -> None:
    book = Book(fake, memory := Memory())
    await book.handle(Connected("client"))
    fake.instead = JSONResponse({"error": {"message": "Prompt has no outputs"}, "node_errors": {}}, 400)
    with pytest.raises(WorkflowRefused):
        await book.submit(PROMPT, "A title")
    assert memory.records == {}


async def test_a_run_of_the_editor_is_recorded_with_its_graph(fake: FakeComfyUI) -> None:
    book = Book(fake, memory := Memory())
    graph: dict[str, Any] = {"nodes": [], "links": []}
    fake.enqueue("theirs", PROMPT, extra_pnginfo={"workflow": graph})
    await book.handle(Connected("client"))
    assert memory.records["theirs"].run.title == "ComfyUI editor"
    assert memory.contents["theirs"] == Content(PROMPT, graph)


async def test_a_prompt_that_is_too_large_is_run_and_not_kept(
    fake: FakeComfyUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MAX_CONTENT_BYTES", 50)
    book = Book(fake, memory := Memory())
    await book.handle(Connected("client"))
    run = await book.submit(PROMPT, "A title")
    assert (run.state, run.can_run_again) == ("pending", False)
    assert memory.records[run.prompt_id].run.can_run_again is False
    assert memory.contents == {}


async def test_a_run_that_is_over_can_be_forgotten(fake: FakeComfyUI) -> None:
    book = Book(fake, memory := Memory())
    await book.handle(Connected("client"))
    id_ = await running(book, fake)
    with pytest.raises(Conflict, match="not over"):
        book.forget(id_)
    fake.end(id_)
    await book.catch_up()
    book.forget(id_)
    assert (book.recent(), memory.records) == ((), {})
    with pytest.raises(NotFound):
        book.forget(id_)


async def test_the_run_that_made_an_output_is_known(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    images = [{"filename": "a b.png", "subfolder": "images", "type": "output"}]
    fake.end(id_, outputs={"4": {"images": images}})
    await book.catch_up()
    assert book.of_output("images/a b.png") == book.get(id_)
    assert book.of_output("images/other.png") is None


# What was there before the dashboard


def record(
    prompt_id: str, state: RunState, *, pod: str = "our pod", at: float = 1.0, comfyui: float = 100.0
) -> RunRecord:
    run = Run(prompt_id, "Remembered", state, 4, submitted_at=at, workflow="mine")
    return RunRecord(run, pod, comfyui)


async def test_a_remembered_run_that_still_runs_is_followed_on(fake: FakeComfyUI) -> None:
    book = Book(fake, start=100.0)
    fake.enqueue("a", PROMPT)
    fake.start("a")
    book.take([record("a", "running")], {"a": Content(PROMPT)})
    await book.handle(Connected("client"))
    run = await tell(book, "a", ("executing", {"node": "2"}), ("progress", {"value": 1, "max": 2}))
    assert (run.state, run.title, run.workflow, run.node_class) == ("running", "Remembered", "mine", "KSampler")
    fake.end("a")
    await book.catch_up()
    assert book.get("a").state == "success"


@pytest.mark.parametrize(
    ("state", "comfyui", "becomes"),
    [("running", 90.0, "lost"), ("pending", 90.0, "lost"), ("pending", 100.0, "interrupted")],
)
async def test_a_remembered_run_that_comfyui_knows_no_more_is_over(
    state: RunState, comfyui: float, becomes: RunState, fake: FakeComfyUI
) -> None:
    book = Book(fake, start=100.0)
    book.take([record("a", state, comfyui=comfyui)], {"a": Content(PROMPT)})
    await book.handle(Connected("client"))
    assert book.get("a").state == becomes


async def test_what_the_queue_told_first_gets_the_title_that_was_remembered(fake: FakeComfyUI) -> None:
    book = Book(fake, start=100.0)
    fake.enqueue("a", PROMPT)
    await book.handle(Connected("client"))
    book.take([record("a", "pending")], {"a": Content(PROMPT)})
    assert (book.get("a").title, book.get("a").workflow, book.get("a").position) == ("Remembered", "mine", 1)


async def test_runs_of_another_pod_are_shown_and_left_alone(fake: FakeComfyUI) -> None:
    book = Book(fake, memory := Memory(), start=100.0)
    book.take([record("theirs", "running", pod="another")], {})
    await book.handle(Connected("client"))
    assert (book.get("theirs").state, book.queue().running, memory.records) == ("running", (), {})
    with pytest.raises(Conflict, match="another machine"):
        await book.cancel("theirs")
    book.take([record("theirs", "success", pod="another")], {})
    assert book.get("theirs").state == "success"
    book.take([], {})
    assert book.recent() == ()


async def test_remembered_runs_stand_behind_newer_ones(book: Book) -> None:
    id_ = (await book.submit(PROMPT, "new")).prompt_id
    book.take([record("old", "success", at=1.0), record("older", "success", at=0.5)], {})
    assert [run.prompt_id for run in book.recent()] == [id_, "old", "older"]


async def test_the_socket_of_an_earlier_dashboard_is_an_orphan_while_its_run_runs(fake: FakeComfyUI) -> None:
    book = Book(fake, start=100.0)
    fake.enqueue("a", PROMPT, client_id="suite-old")
    fake.enqueue("b", PROMPT, client_id="the editor's")
    await book.handle(Connected("suite-new"))
    orphans = [book.orphan]
    fake.start("a")
    await book.catch_up()
    orphans.append(book.orphan)
    fake.end("a")
    fake.start("b")
    await book.catch_up()
    orphans.append(book.orphan)
    assert orphans == [None, "suite-old", None]


# How long it will take


async def test_a_run_like_an_earlier_one_says_how_long_it_will_take(book: Book, fake: FakeComfyUI) -> None:
    book._expected.learn(shape_of(PROMPT), {"1": 10.0, "2": 20.0, "3": 30.0})
    id_ = await running(book, fake)
    assert book.get(id_).eta_seconds == pytest.approx(60.0, abs=2.0)
    await tell(book, id_, ("executing", {"node": "1"}))
    run = await tell(book, id_, ("executing", {"node": "2"}))
    assert run.eta_seconds == pytest.approx(50.0, abs=5.0)


async def test_a_run_like_no_other_does_not_say_how_long_it_will_take(book: Book, fake: FakeComfyUI) -> None:
    assert book.get(await running(book, fake)).eta_seconds is None


async def test_what_a_run_took_is_remembered_with_it(fake: FakeComfyUI, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("services.runs.following.time.monotonic", lambda: now[0])
    book = Book(fake, memory := Memory())
    await book.handle(Connected("client"))
    id_ = await running(book, fake)
    await tell(book, id_, ("executing", {"node": "2"}))
    now[0] += 7.0
    await tell(book, id_, ("executing", {"node": "4"}))
    now[0] += 2.0
    fake.end(id_)
    await book.catch_up()
    assert memory.records[id_].node_seconds == {"2": 7.0, "4": 2.0}


async def test_nodes_are_known_from_progress_alone(book: Book, fake: FakeComfyUI) -> None:
    """As of a prompt without a client id, whose other events are sent to nobody."""
    id_ = await running(book, fake)
    nodes = {
        "1": {"state": "finished", "value": 1, "max": 1},
        "2.0.7": {"state": "running", "value": 3, "max": 20, "display_node_id": "2"},
    }
    run = await tell(book, id_, ("progress_state", {"nodes": nodes}))
    assert (run.node_id, run.node_class, run.step, run.steps, run.nodes_done) == ("2", "KSampler", 3, 20, 1)


async def test_cancelling_what_has_just_ended_leaves_the_next_one_alone(book: Book, fake: FakeComfyUI) -> None:
    id_ = await running(book, fake)
    next_ = (await book.submit(PROMPT, "next")).prompt_id
    fake.end(id_)
    fake.start(next_)
    await book.cancel(id_)
    assert (book.get(id_).state, book.get(next_).state) == ("success", "running")
    assert fake.interrupted == []
