"""Other model names in a workflow, where the files that it names are there under another one."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from services.comfyui import Prompt
from services.errors import InvalidRequest
from services.model_folders import folder_of_input
from services.workflows.convert import convert
from services.workflows.document import Document, Graph
from services.workflows.inner_graphs import MAX_DEPTH, all_nodes, inner_graphs, nodes_of
from services.workflows.report import shown

# A conversion each.
ROUNDS_MAX = 12
# That get the same name at once.
INPUTS_MAX = 200

Name = Annotated[str, Meta(min_length=1, max_length=1_000)]


class Replacement(Struct, frozen=True, forbid_unknown_fields=True):
    """`old` is what the input has now. Every other input that has it, and reads the same folder, gets `new` too."""

    node_id: Annotated[str, Meta(max_length=200)]
    input: Annotated[str, Meta(max_length=200)]
    old: Name = msgspec.field(name="from")
    new: Name = msgspec.field(name="to")


class Spot(Struct):
    """A place among a node's widget values: of a list by its number, of an object by its key."""

    values: Any
    key: Any

    @property
    def place(self) -> tuple[int, Any]:
        return id(self.values), self.key

    def put(self, value: Any) -> None:
        self.values[self.key] = value


def use(
    document: Document, replacements: tuple[Replacement, ...], definitions: Mapping[str, Mapping[str, Any]]
) -> Document:
    """`document` with other names. Raises InvalidRequest when an input has not the name that is to go, or the name does
    not stand in the graph where it could be changed."""
    graph = _copy(document.graph) if document.graph is not None else None
    prompt = _copy(document.prompt) if document.prompt is not None else None
    for replacement in replacements:
        if graph is not None:
            _in_graph(graph, replacement, definitions)
        if prompt is not None:
            for node_id, name in _inputs(prompt, replacement):
                prompt[node_id]["inputs"][name] = replacement.new
    return Document(graph, prompt)


def _in_graph(graph: Graph, replacement: Replacement, definitions: Mapping[str, Mapping[str, Any]]) -> None:
    """Changes `graph`: one spot for each input in each round, and then looks what became of it."""
    left = _inputs(convert(graph, definitions).prompt, replacement)[:INPUTS_MAX]
    meant, spots = left[0], spots_of_inputs(graph, left, replacement.old)
    for number in range(ROUNDS_MAX):
        tried = {wanted: spots[wanted][number] for wanted in left if number < len(spots[wanted])}
        if not tried:
            break
        for spot in tried.values():
            spot.put(replacement.new)
        prompt = convert(graph, definitions).prompt
        left = [wanted for wanted in left if _value(prompt, *wanted) != replacement.new]
        kept = {tried[wanted].place for wanted in tried if wanted not in left}
        for wanted in left:
            if wanted in tried and tried[wanted].place not in kept:
                tried[wanted].put(replacement.old)
    if meant in left:
        raise _refusal(replacement)


def _inputs(prompt: Prompt, replacement: Replacement) -> list[tuple[str, str]]:
    """(node id, input) of the one that is meant, then of the others. Raises InvalidRequest."""
    node = prompt.get(replacement.node_id)
    if node is None or node["inputs"].get(replacement.input) != replacement.old:
        where = f"node {shown(replacement.node_id)} has no '{shown(replacement.input)}'"
        raise InvalidRequest(f"{where} with the value '{shown(replacement.old)}': check the workflow again")
    first = (replacement.node_id, replacement.input)
    folder = folder_of_input(node["class_type"], replacement.input)
    others = [
        (id_, name)
        for id_, other in prompt.items()
        for name, value in other["inputs"].items()
        if value == replacement.old and folder_of_input(other["class_type"], name) == folder
    ]
    return list(dict.fromkeys([first, *others]))


def _value(prompt: Prompt, node_id: str, name: str) -> Any:
    return prompt.get(node_id, {"inputs": {}})["inputs"].get(name)


def spots_of_inputs(graph: Graph, wanted: list[tuple[str, str]], value: Any) -> dict[tuple[str, str], list[Spot]]:
    """Where `value` stands, for each input the likeliest first: at the hosts of the subgraphs around its node, whose
    values count before the inner ones, then at the node itself, then anywhere."""
    anywhere = [spot for node in all_nodes(graph) for spot in _spots_of(node, value)][:ROUNDS_MAX]
    found = {}
    for node_id, name in wanted:
        near = [spot for node in _way(graph, node_id.split(":")) for spot in _spots_of(node, value)]
        found[node_id, name] = list({spot.place: spot for spot in (*near, *anywhere)}.values())[:ROUNDS_MAX]
    return found


def _way(graph: Graph, ids: list[str]) -> Iterator[Mapping[str, Any]]:
    """The nodes that the parts of an id such as `57:12` name, from the outside in."""
    subgraphs = {id_: found for found in inner_graphs(graph) if isinstance(id_ := found.get("id"), str)}
    inside: Mapping[str, Any] | None = graph
    for id_ in ids[:MAX_DEPTH]:
        found = [node for node in nodes_of(inside or {}) if str(node.get("id")) == id_]
        if not found:
            return
        yield found[0]
        kind = found[0].get("type")
        inside = subgraphs.get(kind) if isinstance(kind, str) else None


def _spots_of(node: Mapping[str, Any], value: Any) -> Iterator[Spot]:
    values = node.get("widgets_values")
    if isinstance(values, list):
        yield from (Spot(values, number) for number, found in enumerate(values) if _is_same(found, value))
    elif isinstance(values, dict):
        yield from (Spot(values, key) for key, found in values.items() if _is_same(found, value))


def _is_same(found: Any, value: Any) -> bool:
    # To Python, True is 1.
    return bool(found == value) and isinstance(found, bool) == isinstance(value, bool)


def _copy(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def _refusal(replacement: Replacement) -> InvalidRequest:
    what = f"'{shown(replacement.old)}' of node {shown(replacement.node_id)}"
    return InvalidRequest(
        f"{what} does not stand in the workflow where it could be changed: open it in ComfyUI's editor and choose the"
        " file there"
    )
