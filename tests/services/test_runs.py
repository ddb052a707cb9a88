import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from services import runs
from services.comfyui_socket import Connected, Disconnected, Message, Preview
from services.errors import ComfyUIUnavailable, NotFound, WorkflowRefused
from services.runs import KEEP_RUNS, Change, QueueItem, Run, RunBook
from tests.services.fake_comfyui import FakeComfyUI

PROMPT: dict[str, dict[str, Any]] = {
    "1": {"class_type": "LoadImage", "inputs": {}},
    "2": {"class_type": "KSampler", "inputs": {}},
    "3": {"class_type": "VAEDecode", "inputs": {}},
    "4": {"class_type": "SaveImage", "inputs": {}},
}


class Book(RunBook):
    """Remembers what it told others."""

    def __init__(self, fake: FakeComfyUI) -> None:
        self.told: list[tuple[Change, Run | None]] = []
        super().__init__(fake.comfyui(), lambda change, run: self.told.append((change, run)))

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


async def test_old_runs_are_forgotten_and_waiting_ones_never(book: Book, fake: FakeComfyUI) -> None:
    waiting = (await book.submit(PROMPT, "waiting")).prompt_id
    for number in range(KEEP_RUNS + 10):
        fake.enqueue(f"old-{number}", PROMPT)
        await book.catch_up()
        fake.pending.pop()
        fake.history[f"old-{number}"] = {"outputs": {}, "status": {"status_str": "success"}}
        await book.catch_up()
    known = [run.prompt_id for run in book.recent()]
    assert waiting in known
    assert len(known) <= KEEP_RUNS + 1
    assert "old-0" not in known
    assert f"old-{KEEP_RUNS + 9}" in known
