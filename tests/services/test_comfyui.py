import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse

from services.comfyui import ComfyUI, ComfyUIInfo, OutputFile, QueuedPrompt, media_of
from services.errors import ComfyUIUnavailable, WorkflowRefused
from tests.running import free_ports
from tests.services.fake_comfyui import FakeComfyUI

PROMPT: dict[str, dict[str, Any]] = {"1": {"class_type": "EmptyImage", "inputs": {"width": 64}}}


@pytest.fixture
def fake() -> FakeComfyUI:
    return FakeComfyUI()


@pytest.fixture
def comfyui(fake: FakeComfyUI) -> ComfyUI:
    return fake.comfyui()


async def submit(comfyui: ComfyUI) -> None:
    await comfyui.submit(PROMPT, prompt_id="p", client_id="c", title="A title")


async def test_it_says_its_versions(comfyui: ComfyUI) -> None:
    assert await comfyui.info() == ComfyUIInfo("0.33.0", "3.11.7", "2.13.0+cpu")


# Submitting


async def test_a_prompt_is_handed_over_with_its_title(comfyui: ComfyUI, fake: FakeComfyUI) -> None:
    accepted = await comfyui.submit(PROMPT, prompt_id="p", client_id="c", title="A title")
    assert (accepted.prompt_id, accepted.number, accepted.refused_outputs) == ("p", 1.0, {})
    assert fake.submitted == [
        {"prompt": PROMPT, "prompt_id": "p", "client_id": "c", "extra_data": {"title": "A title"}}
    ]


async def test_outputs_that_will_not_run_are_told(comfyui: ComfyUI, fake: FakeComfyUI) -> None:
    errors = {"9": {"errors": [], "dependent_outputs": ["9"], "class_type": "SaveImage"}}
    fake.instead = JSONResponse({"prompt_id": "p", "number": 1, "node_errors": errors})
    accepted = await comfyui.submit(PROMPT, prompt_id="p", client_id="c", title="")
    assert accepted.refused_outputs == errors


async def test_a_refusal_is_told_in_comfyuis_words(comfyui: ComfyUI, fake: FakeComfyUI) -> None:
    error = {"type": "prompt_no_outputs", "message": "Prompt has no outputs", "details": "", "extra_info": {}}
    fake.instead = JSONResponse({"error": error, "node_errors": {}}, 400)
    with pytest.raises(WorkflowRefused) as caught:
        await submit(comfyui)
    assert caught.value.message == "ComfyUI refused the workflow: Prompt has no outputs"
    assert caught.value.details == {"node_errors": {}, "error": error}


async def test_a_refusal_names_each_node_and_its_problem(comfyui: ComfyUI, fake: FakeComfyUI) -> None:
    problem = {
        "type": "value_not_in_list",
        "message": "Value not in list",
        "details": "model_name: 'missing.safetensors' not in ['tiny.safetensors']",
        "extra_info": {"input_name": "model_name"},
    }
    node_errors = {"2": {"errors": [problem], "dependent_outputs": ["4"], "class_type": "UpscaleModelLoader"}}
    error = {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation", "details": ""}
    fake.instead = JSONResponse({"error": error, "node_errors": node_errors}, 400)
    with pytest.raises(WorkflowRefused) as caught:
        await submit(comfyui)
    assert "node 2 (UpscaleModelLoader): Value not in list: model_name: 'missing.safetensors'" in caught.value.message
    assert caught.value.details["node_errors"] == node_errors


async def test_a_refusal_of_a_hundred_nodes_is_still_a_sentence(comfyui: ComfyUI, fake: FakeComfyUI) -> None:
    found = {"errors": [{"message": "Required input is missing", "details": "height"}], "class_type": "EmptyImage"}
    fake.instead = JSONResponse({"error": {"message": "Bad"}, "node_errors": {str(n): found for n in range(100)}}, 400)
    with pytest.raises(WorkflowRefused) as caught:
        await submit(comfyui)
    assert len(caught.value.message) < 1000
    assert len(caught.value.details["node_errors"]) == 100


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (JSONResponse({"error": "Prompt is not a dictionary", "node_errors": []}, 400), "Prompt is not a dictionary"),
        (PlainTextResponse("Maximum request body size exceeded", 413), "HTTP 413"),
        (JSONResponse(["nonsense"], 400), "HTTP 400"),
        (JSONResponse({"error": {"message": "Bad"}, "node_errors": ["1"]}, 400), "Bad"),
        (JSONResponse({"error": {"message": "Bad"}, "node_errors": {"1": "x"}}, 400), "HTTP 400"),
        (Response(status_code=400), "HTTP 400"),
    ],
)
async def test_a_refusal_in_another_shape_is_told_too(
    answer: Response, words: str, comfyui: ComfyUI, fake: FakeComfyUI
) -> None:
    fake.instead = answer
    with pytest.raises(WorkflowRefused, match=words):
        await submit(comfyui)


# The queue


async def test_the_queue_is_read_in_the_order_of_its_numbers(comfyui: ComfyUI, fake: FakeComfyUI) -> None:
    fake.running = [[3, "r", PROMPT, {"client_id": "c"}, ["1"]]]
    fake.pending = [[9, "last", {}, {}, []], [-1, "first", {}, {}, []], [5, "middle", {}, {}, []]]
    state = await comfyui.queue()
    assert state.running == (QueuedPrompt("r", 3.0, PROMPT, {"client_id": "c"}),)
    assert [queued.prompt_id for queued in state.pending] == ["first", "middle", "last"]


async def test_one_waiting_prompt_is_removed(comfyui: ComfyUI, fake: FakeComfyUI) -> None:
    fake.enqueue("a", {})
    fake.enqueue("b", {})
    await comfyui.remove("a")
    assert [row[1] for row in fake.pending] == ["b"]


async def test_the_queue_is_cleared_of_what_waits(comfyui: ComfyUI, fake: FakeComfyUI) -> None:
    fake.enqueue("a", {})
    fake.enqueue("b", {})
    fake.start("a")
    await comfyui.clear_queue()
    assert ([row[1] for row in fake.running], fake.pending) == (["a"], [])


async def test_only_the_prompt_that_was_named_is_interrupted(comfyui: ComfyUI, fake: FakeComfyUI) -> None:
    fake.enqueue("a", {})
    fake.start("a")
    await comfyui.interrupt("b")
    assert [row[1] for row in fake.running] == ["a"]
    await comfyui.interrupt("a")
    assert fake.running == []


# How it ended

STARTED = ["execution_start", {"prompt_id": "p", "timestamp": 1_000}]


async def test_a_prompt_that_did_not_end_has_no_ending(comfyui: ComfyUI) -> None:
    assert await comfyui.ending("p") is None


async def test_a_success_has_outputs_and_a_duration(comfyui: ComfyUI, fake: FakeComfyUI) -> None:
    outputs = {
        "4": {
            "images": [
                {"filename": "a_00001_.png", "subfolder": "", "type": "output"},
                {"filename": "b_00001_.png", "subfolder": "images", "type": "output"},
                {"filename": "c.png", "subfolder": "", "type": "temp"},
                {"filename": "in.png", "subfolder": "", "type": "input"},
            ],
            "animated": [False],
        },
        "5": {"text": ["a caption"], "audio": [{"filename": "d.flac", "subfolder": "audio", "type": "output"}]},
    }
    fake.end("p", STARTED, ["execution_success", {"prompt_id": "p", "timestamp": 3_500}], outputs=outputs)
    ending = await comfyui.ending("p")
    assert ending is not None
    assert (ending.state, ending.error, ending.seconds) == ("success", None, 2.5)
    assert ending.outputs == (
        OutputFile("a_00001_.png", "", True),
        OutputFile("b_00001_.png", "images", True),
        OutputFile("c.png", "", False),
        OutputFile("d.flac", "audio", True),
    )
    assert [output.path for output in ending.outputs][1] == "images/b_00001_.png"


async def test_an_error_says_which_node_and_why(comfyui: ComfyUI, fake: FakeComfyUI) -> None:
    failure = {
        "prompt_id": "p",
        "node_id": "2",
        "node_type": "UpscaleModelLoader",
        "exception_message": "header too small\n",
        "timestamp": 1_250,
    }
    fake.end("p", STARTED, ["execution_error", failure], status="error")
    ending = await comfyui.ending("p")
    assert ending is not None
    assert (ending.state, ending.seconds) == ("error", 0.25)
    assert ending.error == "node 2 (UpscaleModelLoader): header too small"


async def test_an_error_without_a_reason_says_so(comfyui: ComfyUI, fake: FakeComfyUI) -> None:
    fake.end("p", status="error")
    ending = await comfyui.ending("p")
    assert ending is not None
    assert (ending.state, ending.error, ending.seconds) == ("error", "ComfyUI does not say why", None)


async def test_the_reason_of_an_error_is_no_book(comfyui: ComfyUI, fake: FakeComfyUI) -> None:
    fake.end("p", ["execution_error", {"exception_message": "Missing key, " * 100_000}], status="error")
    ending = await comfyui.ending("p")
    assert ending is not None
    assert len(str(ending.error)) < 3_000


@pytest.mark.parametrize("prompt_id", ["a/b", "../queue", "a?b", "a b"])
async def test_an_ending_is_found_whatever_its_id(prompt_id: str, comfyui: ComfyUI, fake: FakeComfyUI) -> None:
    fake.end(prompt_id)
    assert await comfyui.ending(prompt_id) is not None


@pytest.mark.parametrize(
    "file",
    [
        {"filename": "a.png", "type": ["output"]},
        {"filename": "", "type": "output"},
        {"filename": None, "type": "output"},
        {"type": "output"},
        ["a.png"],
        None,
    ],
)
async def test_what_is_no_file_is_no_output(file: Any, comfyui: ComfyUI, fake: FakeComfyUI) -> None:
    fake.end("p", outputs={"1": {"images": [file]}})
    ending = await comfyui.ending("p")
    assert ending is not None
    assert ending.outputs == ()


async def test_an_interruption_is_no_error(comfyui: ComfyUI, fake: FakeComfyUI) -> None:
    stopped = {"prompt_id": "p", "node_id": "3", "node_type": "KSampler", "timestamp": 2_000}
    fake.end("p", STARTED, ["execution_interrupted", stopped], status="error")
    ending = await comfyui.ending("p")
    assert ending is not None
    assert (ending.state, ending.error, ending.seconds) == ("interrupted", None, 1.0)


# Nodes


@pytest.mark.parametrize(
    "name",
    ["LoadImage", "Power Lora Loader (rgthree)", "KSampler //Inspire", "Is it?", "50% #grey", "Größe", "🦊", ".."],
)
async def test_a_node_is_found_whatever_it_is_called(name: str, comfyui: ComfyUI, fake: FakeComfyUI) -> None:
    fake.object_info[name] = {"input": {"required": {}}}
    assert await comfyui.node_definition(name) == {"input": {"required": {}}}


async def test_a_definition_may_hold_what_json_does_not_know(comfyui: ComfyUI, fake: FakeComfyUI) -> None:
    # Python writes infinity all the same, and many a custom node has it as the largest value of an input.
    fake.object_info["Scale"] = {"input": {"required": {"by": ["FLOAT", {"max": float("inf")}]}}}
    assert await comfyui.node_definition("Scale") == fake.object_info["Scale"]


@pytest.mark.parametrize("name", ["NoSuchNode", "No/Such/Node"])
async def test_a_node_comfyui_does_not_have_has_no_definition(name: str, comfyui: ComfyUI) -> None:
    assert await comfyui.node_definition(name) is None


# When it does not answer


@pytest.mark.parametrize(
    "answer",
    [
        PlainTextResponse("500 Internal Server Error", 500),
        JSONResponse({}, 503),
        # A custom node that put a login of its own in front.
        PlainTextResponse("<html>sign in</html>", 401),
        RedirectResponse("/login", 302),
        PlainTextResponse("<html>sign in</html>", 200),
        JSONResponse([], 200),
        JSONResponse({}, 200),
    ],
)
@pytest.mark.parametrize("ask", [ComfyUI.info, ComfyUI.queue])
async def test_an_answer_that_is_not_comfyuis_is_no_answer(
    ask: Any, answer: Response, comfyui: ComfyUI, fake: FakeComfyUI
) -> None:
    fake.instead = answer
    with pytest.raises(ComfyUIUnavailable):
        await ask(comfyui)


@pytest.mark.parametrize(
    "ask",
    [
        submit,
        ComfyUI.clear_queue,
        lambda comfyui: comfyui.remove("p"),
        lambda comfyui: comfyui.interrupt("p"),
        lambda comfyui: comfyui.ending("p"),
        lambda comfyui: comfyui.node_definition("LoadImage"),
    ],
    ids=["submit", "clear", "remove", "interrupt", "ending", "node definition"],
)
@pytest.mark.parametrize("answer", [PlainTextResponse("500", 500), RedirectResponse("/login", 302)])
async def test_a_comfyui_that_fails_is_unavailable_for_every_purpose(
    answer: Response, ask: Any, comfyui: ComfyUI, fake: FakeComfyUI
) -> None:
    fake.instead = answer
    with pytest.raises(ComfyUIUnavailable):
        await ask(comfyui)


async def test_an_answer_without_an_end_is_not_kept(
    comfyui: ComfyUI, fake: FakeComfyUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.instead = PlainTextResponse('{"a": "' + "x" * 2000)
    monkeypatch.setattr("services.comfyui.MAX_DEFINITION_BYTES", 1000)
    with pytest.raises(ComfyUIUnavailable, match="GET /object_info/LoadImage with more than"):
        await comfyui.node_definition("LoadImage")


async def test_an_answer_that_trickles_in_is_not_waited_for(
    comfyui: ComfyUI, fake: FakeComfyUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    fake.instead = StreamingResponse(trickle())
    monkeypatch.setattr("services.comfyui.ANSWER_SECONDS", 0.2)
    with pytest.raises(ComfyUIUnavailable, match="TimeoutError"):
        await comfyui.queue()


async def test_a_failure_names_the_request(comfyui: ComfyUI, fake: FakeComfyUI) -> None:
    fake.instead = PlainTextResponse("500", 500)
    with pytest.raises(ComfyUIUnavailable, match=r"GET /queue \(HTTP 500\)"):
        await comfyui.queue()


async def test_a_comfyui_that_is_not_there_is_unavailable() -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_ports(1)[0]}", trust_env=False) as http:
        with pytest.raises(ComfyUIUnavailable, match="does not answer"):
            await ComfyUI(http).info()


@pytest.mark.parametrize(
    ("filename", "media"),
    [
        ("a.png", "image"),
        ("A.JPEG", "image"),
        ("a.b.webp", "image"),
        ("a.mp4", "video"),
        ("a.flac", "audio"),
        ("a.safetensors", "other"),
        ("", "other"),
    ],
)
def test_what_an_output_is_shows_in_its_suffix(filename: str, media: str) -> None:
    assert media_of(filename) == media
