"""From a document to ComfyUI's queue, with parts that answer from memory."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from dashboard.runner import Origin, Submission, Wanted, execute, prompt_of
from dashboard.suite import Suite
from dashboard.workbench import Workbench
from services.comfyui import Prompt
from services.comfyui_socket import Connected
from services.errors import ComfyUIUnavailable, InvalidRequest, WorkflowRefused
from services.gpus import Gpu
from services.models import ModelFile
from services.runs import RunBook
from services.workflows.document import Document
from services.workflows.report import Report, WrongValue
from services.workflows.seeds import Seed
from tests.services.fake_comfyui import FakeComfyUI

GB = 10**9
GRAPH: dict[str, Any] = {
    "nodes": [
        {"id": 1, "type": "Text", "widgets_values": ["a {cat|dog|cow}"], "outputs": [{"name": "C", "links": [1]}]},
        {"id": 2, "type": "KSampler", "widgets_values": [5, "fixed", 20], "inputs": [{"name": "positive", "link": 1}]},
    ],
    "links": [[1, 1, 0, 2, 0, "C"]],
}
PROMPT: Prompt = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
    "2": {"class_type": "KSampler", "inputs": {"model": ["1", 0], "seed": 5, "steps": 20}},
}
DEFINITIONS: dict[str, dict[str, Any]] = {
    "Text": {"input": {"required": {"text": ["STRING", {"multiline": True, "dynamicPrompts": True}]}}, "output": ["C"]},
    "CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": [["a.safetensors", "b.safetensors"], {}]}}},
    "KSampler": {"input": {"required": {"seed": ["INT", {"min": 0}], "steps": ["INT", {"min": 1, "max": 100}]}}},
}


class Full(FakeComfyUI):
    """Takes `room` prompts, then answers with `then`."""

    def __init__(self, room: int, then: Response) -> None:
        super().__init__()
        self.room, self.then = room, then

    async def _prompt(self, request: Any) -> Response:
        self.instead = self.then if len(self.submitted) >= self.room else None
        try:
            return await super()._prompt(request)
        finally:
            self.instead = None


class Parts:
    """What `execute` needs of a suite."""

    def __init__(self, fake: FakeComfyUI) -> None:
        self.fake = fake
        fake.object_info = DEFINITIONS
        self.comfyui = fake.comfyui()
        self.workbench = Workbench()
        self.runs = RunBook(self.comfyui, lambda change, run: None)
        self.report = Report(can_run=True)
        self.gpus: tuple[Gpu, ...] = ()
        self.system = SimpleNamespace(status=self._status)
        self.library = SimpleNamespace(shelf=self._shelf)
        self.checker = SimpleNamespace(check=self._check)

    async def run(
        self, inputs: Mapping[str, Any] | None = None, seed: Seed = None, count: int = 1, prompt: Prompt = PROMPT
    ) -> Submission:
        wanted = Wanted(Origin("A title", "mine"), inputs or {}, seed, count)
        return await execute(cast("Suite", self), Document(prompt=prompt), wanted)

    def seeds(self) -> list[int]:
        return [body["prompt"]["2"]["inputs"]["seed"] for body in self.fake.submitted]

    async def _status(self) -> SimpleNamespace:
        return SimpleNamespace(gpus=self.gpus)

    async def _shelf(self) -> SimpleNamespace:
        return SimpleNamespace(models={"a": ModelFile("a", "checkpoints", "a.safetensors", 10 * GB, 0)})

    async def _check(self, _document: Document, _prompt: Prompt | None = None) -> SimpleNamespace:
        def require() -> None:
            if not self.report.can_run:
                raise WorkflowRefused("it lacks something")

        return SimpleNamespace(report=self.report, require=require)


async def connected(fake: FakeComfyUI) -> Parts:
    parts = Parts(fake)
    await parts.runs.handle(Connected("client"))
    return parts


@pytest.fixture
async def parts() -> Parts:
    return await connected(FakeComfyUI())


async def test_a_run_has_the_title_and_the_name_of_its_workflow(parts: Parts) -> None:
    submission = await parts.run()
    assert (submission.run.title, submission.run.workflow, submission.run.state) == ("A title", "mine", "pending")
    assert (submission.batch, submission.warnings) == ((submission.run.prompt_id,), ())


async def test_inputs_and_seeds_are_what_is_run(parts: Parts) -> None:
    await parts.run({"2.steps": 4}, seed=9)
    assert parts.fake.submitted[0]["prompt"]["2"]["inputs"] == {"model": ["1", 0], "seed": 9, "steps": 4}


async def test_an_input_that_does_not_fit_queues_nothing(parts: Parts) -> None:
    with pytest.raises(InvalidRequest, match=r"'2\.steps' must be 100 or less"):
        await parts.run({"2.steps": 1000}, count=3)
    assert parts.fake.submitted == []


async def test_a_batch_is_queued_in_the_order_of_its_seeds(parts: Parts) -> None:
    submission = await parts.run(count=3)
    assert parts.seeds() == [5, 6, 7]
    assert [item.prompt_id for item in parts.runs.queue().pending] == list(submission.batch)
    assert submission.run.prompt_id == submission.batch[0]


async def test_what_the_check_refuses_is_not_queued(parts: Parts) -> None:
    parts.report = Report(can_run=False)
    with pytest.raises(WorkflowRefused, match="lacks something"):
        await parts.run()
    assert parts.fake.submitted == []


async def test_what_will_not_run_of_it_is_a_warning(parts: Parts) -> None:
    parts.report = Report(can_run=True, wrong_values=(WrongValue("9", "Save", "Save", "", None, (), "no picture"),))
    assert (await parts.run()).warnings == ("no picture",)


async def test_a_batch_of_what_has_no_seed_is_warned_of(parts: Parts) -> None:
    prompt = {"2": {"class_type": "KSampler", "inputs": {"seed": ["1", 0], "steps": 3}}, "1": PROMPT["1"]}
    (warning,) = (await parts.run(count=2, prompt=prompt)).warnings
    assert "no seed" in warning


async def test_a_refusal_of_the_first_refuses_all() -> None:
    refusal = JSONResponse({"error": {"message": "Prompt has no outputs"}, "node_errors": {}}, 400)
    parts = await connected(Full(0, refusal))
    with pytest.raises(WorkflowRefused, match="no outputs"):
        await parts.run(count=3)
    assert parts.runs.recent() == ()


async def test_a_failure_in_the_middle_says_how_many_were_queued() -> None:
    parts = await connected(Full(2, PlainTextResponse("502", 502)))
    with pytest.raises(ComfyUIUnavailable, match="2 of 5 runs were queued") as failed:
        await parts.run(count=5)
    assert failed.value.details["queued"] == [item.prompt_id for item in parts.runs.queue().pending]


async def test_what_comfyui_holds_is_unloaded_for_what_does_not_fit_beside_it(parts: Parts) -> None:
    parts.gpus = (Gpu(0, "RTX 4090", None, 20 * GB, 24 * GB, None, None),)
    assert (await parts.run()).warnings == ()
    assert parts.fake.freed == 1
    # The same models once more; and what waits needs what is held.
    await parts.run()
    assert parts.fake.freed == 1


async def test_what_does_not_fit_beside_what_runs_is_warned_of(parts: Parts) -> None:
    parts.fake.enqueue("theirs", {"1": {"class_type": "EmptyImage", "inputs": {}}})
    await parts.runs.catch_up()
    parts.gpus = (Gpu(0, "RTX 4090", None, 20 * GB, 24 * GB, None, None),)
    (warning,) = (await parts.run()).warnings
    assert "10.0 GB" in warning
    assert parts.fake.freed == 0


async def run_graph(parts: Parts, graph: dict[str, Any], **wanted: Any) -> Submission:
    return await execute(cast("Suite", parts), Document(graph=graph), Wanted(Origin("A title"), **wanted))


async def test_each_run_of_a_batch_chooses_anew_in_its_texts_and_its_picture_says_what(parts: Parts) -> None:
    submission = await run_graph(parts, GRAPH, count=40)
    texts = [body["prompt"]["1"]["inputs"]["text"] for body in parts.fake.submitted]
    assert set(texts) == {"a cat", "a dog", "a cow"}
    graphs = [body["extra_data"]["extra_pnginfo"]["workflow"] for body in parts.fake.submitted]
    assert [graph["nodes"][0]["widgets_values"] for graph in graphs] == [[text] for text in texts]
    assert submission.warnings == ()


async def test_a_text_of_the_form_may_hold_choices_too(parts: Parts) -> None:
    await run_graph(parts, GRAPH, inputs={"1.text": "{red|blue}"}, count=40)
    assert {body["prompt"]["1"]["inputs"]["text"] for body in parts.fake.submitted} == {"red", "blue"}


async def test_a_prompt_is_run_as_it_is_written(parts: Parts) -> None:
    prompt = {**PROMPT, "3": {"class_type": "Text", "inputs": {"text": "a {cat|dog}"}}}
    await parts.run(prompt=prompt)
    assert parts.fake.submitted[0]["prompt"]["3"]["inputs"]["text"] == "a {cat|dog}"


async def test_what_is_converted_without_a_run_is_the_same_each_time(parts: Parts) -> None:
    prompts = [await prompt_of(cast("Suite", parts), Document(graph=GRAPH)) for _ in range(20)]
    assert {prompt["1"]["inputs"]["text"] for prompt in prompts} == {"a cat"}


async def test_what_cannot_be_converted_is_not_queued_and_the_node_is_named(parts: Parts) -> None:
    graph = {"nodes": [*GRAPH["nodes"], {"id": 3, "type": "workflow>mine", "title": "Mine"}], "links": GRAPH["links"]}
    with pytest.raises(WorkflowRefused, match=r"node 3 \(Mine\): the group node 'mine' has no definition") as refused:
        await run_graph(parts, graph)
    assert refused.value.details["unconverted"][0]["node_id"] == "3"
    assert parts.fake.submitted == []
