"""From anything that carries a workflow to runs of it: the one way to ComfyUI's queue."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from dashboard.suite import Suite
from services import headroom, log
from services.comfyui import Prompt
from services.errors import ComfyUIUnavailable, InvalidRequest, NotFound, WorkflowRefused
from services.named_models import named_models
from services.runs import Run
from services.workflows import inputs, seeds
from services.workflows.check import definitions_of as definitions_from
from services.workflows.convert import Unconverted, classes_of, convert
from services.workflows.document import Document, Graph, from_value, read_document_file
from services.workflows.graph_values import GraphValues
from services.workflows.seeds import Seed
from services.workspace import Workspace

_log = log.get("comfyui_bridge")


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a workflow comes from: exactly one of these.

    `workflow`: the name of a saved one; `prompt`: the workflow itself, in either form; `output`: the path of an output
    that carries one; `run`: the id of a run that was made before.
    """

    workflow: str | None = None
    prompt: dict[str, Any] | None = None
    output: str | None = None
    run: str | None = None


class Origin(Struct, frozen=True):
    """`workflow`: the name of the saved one."""

    title: str
    workflow: str | None = None


class Wanted(Struct, frozen=True):
    """`inputs` by key, as services/workflows/inputs.py has them. `count`: so many runs, of distinct seeds."""

    origin: Origin
    inputs: Mapping[str, Any] = {}
    seed: Seed = None
    count: int = 1


class Submission(Struct, frozen=True):
    """The first of the runs in `batch`; what is worth knowing before they end."""

    run: Run
    batch: tuple[str, ...]
    warnings: tuple[str, ...]


async def document_of(suite: Suite, source: Source) -> Document:
    """Raises InvalidRequest, NotFound, WorkspaceUnavailable."""
    given = [name for name in ("workflow", "prompt", "output", "run") if getattr(source, name) is not None]
    if len(given) != 1:
        raise InvalidRequest(
            "send exactly one of 'workflow' (the name of a saved one), 'prompt' (a workflow), 'output' (the path of an"
            f" output that carries one) and 'run' (the id of a run); got {', '.join(given) or 'none'}"
        )
    if source.workflow is not None:
        return await suite.library.document(source.workflow)
    if source.output is not None:
        return await suite.volume.run(_of_output, Workspace(suite.settings.workspace), source.output)
    if source.run is not None:
        return await suite.runs.document(source.run)
    return from_value(source.prompt)


async def prompt_of(suite: Suite, document: Document) -> Prompt:
    """What ComfyUI is to run. Raises WorkflowRefused naming each node that cannot be converted, ComfyUIUnavailable."""
    if document.prompt is not None:
        return document.prompt
    if document.graph is None:
        raise InvalidRequest("there is no workflow in it")
    definitions = await definitions_of(suite, classes_of(document.graph))
    conversion = await asyncio.to_thread(convert, document.graph, definitions)
    if conversion.problems:
        raise _refused(conversion.problems)
    return conversion.prompt


async def definitions_of(suite: Suite, classes: frozenset[str]) -> dict[str, Mapping[str, Any]]:
    """`/object_info` of those of `classes` that ComfyUI has. Raises ComfyUIUnavailable."""
    return dict((await definitions_from(suite.comfyui, classes)).known)


async def origin_of(suite: Suite, source: Source) -> Origin:
    """What the runs of `source` are called. Raises NotFound."""
    if source.workflow is not None:
        return Origin(await suite.library.workflow_title(source.workflow), source.workflow)
    known = suite.runs.get(source.run) if source.run is not None else None
    if source.output is not None:
        known = suite.runs.of_output(source.output)
        if known is None:
            return Origin(source.output.rpartition("/")[2])
    return Origin(known.title, known.workflow) if known else Origin("API")


async def execute(suite: Suite, document: Document, wanted: Wanted) -> Submission:
    """Checks `document` and puts it into ComfyUI's queue, `wanted.count` times.

    Raises InvalidRequest; WorkflowRefused with the report of all that it lacks, when nothing was queued;
    ComfyUIUnavailable, with the ids of those that were.
    """
    try:
        prompt = await prompt_of(suite, document)
    except WorkflowRefused:
        # With all else that it lacks.
        (await suite.checker.check(document)).require()
        raise
    classes = frozenset(node["class_type"] for node in prompt.values())
    definitions = await definitions_of(suite, classes)
    changed = inputs.apply(prompt, definitions, wanted.inputs)
    look = await suite.checker.check(document, changed)
    look.require()
    prompts = seeds.batch(changed, definitions, wanted.seed, wanted.count)
    warnings = [one.message for one in look.report.wrong_values if one.refused]
    if (wanted.count > 1 or wanted.seed is not None) and not seeds.seed_inputs(changed, definitions):
        warnings.append("the workflow has no seed: each run makes the same")
    warnings += await _make_room(suite, changed)
    values = await _values_of(suite, document.graph, prompt)
    ids = await _hand_over(suite, prompts, wanted.origin, values)
    return Submission(suite.runs.get(ids[0]), tuple(ids), tuple(warnings))


async def _hand_over(suite: Suite, prompts: list[Prompt], origin: Origin, values: GraphValues | None) -> list[str]:
    ids: list[str] = []
    try:
        for prompt in prompts:
            graph = await asyncio.to_thread(values.graph_of, prompt) if values else None
            ids.append(await suite.runs.hand_over(prompt, origin.title, workflow=origin.workflow, graph=graph))
    except (ComfyUIUnavailable, WorkflowRefused) as error:
        if not ids:
            raise
        message = f"{len(ids)} of {len(prompts)} runs were queued, then: {error.message}"
        raise type(error)(message, {**error.details, "queued": ids}) from None
    finally:
        if ids:
            await suite.runs.catch_up()
    return ids


async def _values_of(suite: Suite, graph: Graph | None, prompt: Prompt) -> GraphValues | None:
    if graph is None:
        return None
    return GraphValues(graph, prompt, await definitions_of(suite, classes_of(graph)))


async def _make_room(suite: Suite, prompt: Prompt) -> list[str]:
    """Has ComfyUI let go of what the card has no room for beside the models of `prompt`. What cannot be helped."""
    gpus = (await suite.system.status()).gpus
    if not gpus:
        return []
    files = (await suite.library.shelf()).models.values()
    found = headroom.judge(named_models(prompt), suite.runs.held_models, files, gpus, is_idle=suite.runs.is_idle)
    if found.advice == "free":
        await suite.comfyui.free()
        _log.info("models_unloaded", reason="the next run needs the card's memory")
    return [found.message] if found.message else []


def _of_output(workspace: Workspace, path: str) -> Document:
    file = workspace.output_file(path)
    if not file.is_file():
        raise NotFound(f"there is no output '{path[:200]}'")
    return read_document_file(file)


def _refused(problems: tuple[Unconverted, ...]) -> WorkflowRefused:
    told = "; ".join(
        f"node {problem.node_id} ({problem.title or problem.class_type}): {problem.reason}" for problem in problems[:5]
    )
    return WorkflowRefused(f"the workflow cannot be converted: {told}", {"unconverted": msgspec.to_builtins(problems)})
