"""What a workflow lacks on this volume, by what the running ComfyUI offers."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from services.artifacts import Artifact
from services.comfyui import ComfyUI, Prompt
from services.errors import ComfyUIUnavailable, InvalidRequest
from services.node_packs import NodePack, NodePacks
from services.workflows.convert import Unconverted
from services.workflows.declared import Declared, declared
from services.workflows.document import Document
from services.workflows.models import Finder, Known, Need, looks_like_model, needs_of
from services.workflows.origins import CORE, Origin, Origins, origins
from services.workflows.report import MissingNode, Report, WrongValue, shown
from services.workflows.shape import MAX_CLASS_CHARACTERS
from services.workflows.values import HasFile, Judged, judge

# What lists of packs call ComfyUI itself.
_CORE_ADDRESSES = {"https://github.com/comfyanonymous/ComfyUI", "https://github.com/Comfy-Org/ComfyUI"}
# How many node classes ComfyUI is asked for at the same time.
QUESTIONS = 8
# Of kinds of nodes in one workflow; each is a question.
MAX_CLASSES = 1_000


class Definitions(Struct, frozen=True):
    """`/object_info` by class. `broken`: ComfyUI has the class, but fails to describe it."""

    known: Mapping[str, Mapping[str, Any]]
    broken: frozenset[str] = frozenset()


class Checked(Struct, frozen=True):
    """`files`: what would be fetched for the missing models that can be; `coming`: what of them is under way."""

    report: Report
    files: tuple[Artifact, ...]
    coming: tuple[Artifact, ...] = ()


async def definitions_of(comfyui: ComfyUI, classes: Iterable[str]) -> Definitions:
    """Raises ComfyUIUnavailable when it does not answer, InvalidRequest for more classes than any workflow has."""
    asking, broken = asyncio.Semaphore(QUESTIONS), set()

    async def ask(class_type: str) -> Mapping[str, Any] | None:
        async with asking:
            try:
                return await comfyui.node_definition(class_type)
            except ComfyUIUnavailable as error:
                if error.details.get("status") != 500:
                    raise
                broken.add(class_type)
                return None

    # ComfyUI is asked by an address that holds the name; without one it tells of all.
    names = sorted(name for name in set(classes) if 0 < len(name) <= MAX_CLASS_CHARACTERS)
    if len(names) > MAX_CLASSES:
        raise InvalidRequest(f"a workflow of {len(names)} kinds of nodes; at most {MAX_CLASSES} are taken")
    answers = await asyncio.gather(*(ask(name) for name in names))
    known = {name: found for name, found in zip(names, answers, strict=True) if found is not None}
    return Definitions(known, frozenset(broken))


def examine(
    document: Document,
    prompt: Prompt,
    definitions: Definitions,
    known: Known,
    *,
    unconverted: tuple[Unconverted, ...] = (),
    packs: NodePacks | None = None,
    has_file: HasFile = lambda _name: True,
) -> Checked:
    """All that keeps `prompt`, which was made of `document`, from running. Blocking, as `packs` and `has_file` are."""
    said = origins(document.graph)
    titles = {id_: _title(id_, node, said, definitions) for id_, node in prompt.items()}
    judged = judge(prompt, definitions.known, titles, has_file, looks_like_model)
    finder = Finder(known, said)
    rows = needs_of(_needs(prompt, judged, definitions, titles, finder))
    models = tuple(finder.missing(needs) for needs in rows)
    files = tuple(
        file
        for needs, model in zip(rows, models, strict=True)
        if model.verdict in {"preset", "url"} and (file := finder.file(needs[0])) is not None
    )
    coming = tuple(
        file
        for needs, model in zip(rows, models, strict=True)
        if model.verdict == "downloading" and (file := finder.coming(needs[0])) is not None
    )
    nodes = tuple(_missing_nodes(prompt, definitions, titles, said, packs))
    wrong = (*_broken(prompt, definitions, titles), *judged.wrong)
    sizes = [file.size_bytes for file in files]
    report = Report(
        can_run=judged.can_run and not (models or nodes or unconverted or definitions.broken),
        installable=len(files),
        fetch_bytes=None if files and not any(sizes) else sum(size or 0 for size in sizes),
        missing_models=models,
        missing_nodes=nodes,
        wrong_values=wrong,
        unconverted=unconverted,
    )
    return Checked(report, files, coming)


def _needs(
    prompt: Prompt, judged: Judged, definitions: Definitions, titles: Mapping[str, str], finder: Finder
) -> Iterable[Need]:
    for node_id in judged.needed:
        class_type, inputs = prompt[node_id]["class_type"], prompt[node_id]["inputs"]
        definition = definitions.known.get(class_type)
        for name, input_ in (declared(definition, inputs) if definition else {}).items():
            value = inputs.get(name)
            if _is_missing(class_type, input_, value):
                yield finder.need(node_id, class_type, titles[node_id], input_, value)


def _is_missing(class_type: str, input_: Declared, value: Any) -> bool:
    choices = input_.choices
    return choices is not None and value not in choices and looks_like_model(class_type, input_, value)


def _missing_nodes(
    prompt: Prompt, definitions: Definitions, titles: Mapping[str, str], said: Origins, packs: NodePacks | None
) -> Iterable[MissingNode]:
    missing = {node["class_type"] for node in prompt.values()} - definitions.known.keys() - definitions.broken
    if not missing:
        return
    brought = _packs(missing, said, packs)
    for id_, node in prompt.items():
        if (class_type := node["class_type"]) in missing:
            origin, pack = said.classes.get(class_type), brought.get(class_type)
            if pack is not None and pack.url in _CORE_ADDRESSES:
                origin, pack = Origin(CORE, None, None), None
            message = f"{shown(titles[id_])}: {_lacking(class_type, origin, pack, said.is_core)}"
            yield MissingNode(id_, class_type, titles[id_], pack, message)


def _packs(classes: Iterable[str], said: Origins, packs: NodePacks | None) -> dict[str, NodePack]:
    """What the nodes themselves say comes before what lists know of classes of their name."""
    named = {name: origin for name in classes if (origin := said.classes.get(name)) is not None}
    listed = packs.called({origin.id for origin in named.values() if origin.id}) if packs else {}
    found = packs.of([name for name in classes if name not in named]) if packs else {}
    for name, origin in named.items():
        if origin.id != CORE:
            own = origin.id or (origin.repository or "").rpartition("/")[2]
            url = f"https://github.com/{origin.repository}" if origin.repository else None
            found[name] = listed.get(origin.id or "") or NodePack(own, own, url)
    return found


def _lacking(class_type: str, origin: Origin | None, pack: NodePack | None, is_core: bool) -> str:
    """`is_core`: every node of the workflow that says where it comes from is one of ComfyUI's own."""
    what = f"this ComfyUI has no node class {shown(class_type)}"
    if origin is not None and origin.id == CORE:
        made = f" (the workflow was made with {origin.version})" if origin.version else ""
        return (
            f"{what}. It is one of ComfyUI's own{made}: it takes a newer ComfyUI, or one with its API nodes switched on"
        )
    where = f" ({pack.url})" if pack is not None and pack.url else ""
    if origin is None and is_core:
        other = f". Else it is of the pack {shown(pack.title)}{where}" if pack is not None else ""
        seems = "It seems to be one of a newer ComfyUI: the other nodes of the workflow are ComfyUI's own"
        return f"{what}. {seems}{other}"
    if pack is None:
        return f"{what}, and no list at hand knows the pack it is of. Find out from whoever made the workflow"
    return (
        f"{what}. It is of the pack {shown(pack.title)}{where}: put that into custom_nodes/ on the volume, by"
        " ComfyUI-Manager or by hand, and restart ComfyUI"
    )


def _broken(prompt: Prompt, definitions: Definitions, titles: Mapping[str, str]) -> Iterable[WrongValue]:
    for id_, node in prompt.items():
        if (class_type := node["class_type"]) in definitions.broken:
            message = (
                f"{shown(titles[id_])}: ComfyUI has the node class {shown(class_type)} but fails to describe it. A"
                " folder of models that it reads may have gone: restart ComfyUI, and look into its log"
            )
            yield WrongValue(id_, class_type, titles[id_], "", None, (), message)


def _title(node_id: str, node: Mapping[str, Any], said: Origins, definitions: Definitions) -> str:
    meta = node.get("_meta")
    given = meta.get("title") if isinstance(meta, Mapping) else None
    if isinstance(given, str) and given:
        return shown(given)
    name = definitions.known.get(node["class_type"], {}).get("display_name")
    return shown(said.titles.get(node_id) or (name if isinstance(name, str) and name else node["class_type"]))
