"""From anything that carries a workflow to runs of it: the one way to ComfyUI's queue."""

import random
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from dashboard.suite import Suite
from services import headroom, log
from services.comfyui import Prompt
from services.errors import ComfyUIUnavailable, InvalidRequest, WorkflowRefused
from services.named_models import named_models
from services.runs import Run
from services.workflows import inputs, seeds
from services.workflows.check import definitions_of as definitions_from
from services.workflows.convert import Conversion, Unconverted, classes_of, convert, first, with_choices
from services.workflows.document import Document, Graph, from_value
from services.workflows.graph_values import GraphValues
from services.workflows.seeds import Seed

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
        return await suite.outputs.document(source.output)
    if source.run is not None:
        return await suite.runs.document(source.run)
    return await suite.workbench.run(from_value, source.prompt)


async def prompt_of(suite: Suite, document: Document) -> Prompt:
    """What ComfyUI is to run, with the first of the choices in its texts (`{a|b}`): the same each time.

    Raises as `conversion_of`.
    """
    conversion = await conversion_of(suite, document)
    return await suite.workbench.run(with_choices, conversion.prompt, conversion.texts, first)


async def conversion_of(suite: Suite, document: Document) -> Conversion:
    """`document` as a prompt, with its texts as they are written.

    Raises WorkflowRefused naming each node that cannot be converted, InvalidRequest, ComfyUIUnavailable.
    """
    if document.prompt is not None:
        # It ran, or was to be run: its texts are chosen.
        return Conversion(document.prompt, ())
    if document.graph is None:
        raise InvalidRequest("there is no workflow in it")
    definitions = await definitions_of(suite, await suite.workbench.run(classes_of, document.graph))
    conversion = await suite.workbench.run(convert, document.graph, definitions, choose=None)
    if conversion.problems:
        raise _refused(conversion.problems)
    return conversion


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
        conversion = await conversion_of(suite, document)
    except WorkflowRefused:
        # With all else that it lacks.
        (await suite.checker.check(document)).require()
        raise
    prompt = conversion.prompt
    classes = frozenset(node["class_type"] for node in prompt.values())
    definitions = await definitions_of(suite, classes)
    changed = await suite.workbench.run(inputs.apply, prompt, definitions, wanted.inputs)
    look = await suite.checker.check(document, changed)
    look.require()
    prompts = await suite.workbench.run(_prompts, changed, definitions, wanted, conversion.texts)
    warnings = [one.message for one in look.report.wrong_values if one.refused]
    is_same = all(one == prompts[0] for one in prompts) and not seeds.seed_inputs(changed, definitions)
    if is_same and (wanted.count > 1 or wanted.seed is not None):
        warnings.append("the workflow has no seed: each run makes the same")
    warnings += await _make_room(suite, changed)
    values = await _values_of(suite, document.graph, prompt)
    ids = await _hand_over(suite, prompts, wanted.origin, values)
    return Submission(suite.runs.get(ids[0]), tuple(ids), tuple(warnings))


def _prompts(
    prompt: Prompt, definitions: Mapping[str, Mapping[str, Any]], wanted: Wanted, texts: tuple[tuple[str, str], ...]
) -> list[Prompt]:
    """One for each run, with its own seed and its own choices in the texts."""
    batch = seeds.batch(prompt, definitions, wanted.seed, wanted.count)
    return [with_choices(one, texts, random.randrange) for one in batch]


async def _hand_over(suite: Suite, prompts: list[Prompt], origin: Origin, values: GraphValues | None) -> list[str]:
    ids: list[str] = []
    try:
        for prompt in prompts:
            graph = await suite.workbench.run(values.graph_of, prompt) if values else None
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
    definitions = await definitions_of(suite, await suite.workbench.run(classes_of, graph))
    return await suite.workbench.run(GraphValues, graph, prompt, definitions)


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


def _refused(problems: tuple[Unconverted, ...]) -> WorkflowRefused:
    told = "; ".join(
        f"node {problem.node_id} ({problem.title or problem.class_type}): {problem.reason}" for problem in problems[:5]
    )
    return WorkflowRefused(f"the workflow cannot be converted: {told}", {"unconverted": msgspec.to_builtins(problems)})
