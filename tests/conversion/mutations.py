"""Workflows made from workflows: what people do to a graph in the editor, and what old or broken files hold.

The same graph and seed give the same result.
"""

import copy
import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from services.workflows.document import Graph

Definitions = Mapping[str, Mapping[str, Any]]
Node = dict[str, Any]
MUTED, BYPASSED = 2, 4
# Seldom more than a handful: otherwise most of a graph is gone, and nothing is left to compare.
MOST_CHANGES = 4
TEXTS = (
    "a {red|blue {big|small}} fox",
    "cat // not this\ndog",
    "",
    "50% of /* this */ it",
    "\\{kept\\} {one}",
    "{open|end",
)
NUMBERS = (0, 1, -1, 7, 12.5, 1e9, 2**53 + 1, 2**60 + 3)
LENGTHS = (0, 1, 2, 3)


def mutate(graph: Graph, definitions: Definitions, seed: int) -> Graph:
    """A changed copy of `graph`."""
    random = Random(seed)
    changed: Graph = copy.deepcopy(graph)
    for _ in range(random.randint(1, MOST_CHANGES)):
        scope = random.choice(_scopes(changed))
        nodes = [node for node in scope.get("nodes", []) if isinstance(node, dict)]
        if nodes:
            random.choice(CHANGES)(changed, scope, random.choice(nodes), definitions, random)
    return changed


def _scopes(graph: Graph) -> list[Graph]:
    """The graph itself and the subgraphs that it defines."""
    definitions = graph.get("definitions") or {}
    return [graph, *definitions.get("subgraphs", [])]


def _mute(graph: Graph, scope: Graph, node: Node, definitions: Definitions, random: Random) -> None:
    node["mode"] = MUTED


def _bypass(graph: Graph, scope: Graph, node: Node, definitions: Definitions, random: Random) -> None:
    node["mode"] = BYPASSED


def _activate(graph: Graph, scope: Graph, node: Node, definitions: Definitions, random: Random) -> None:
    for sleeping in scope["nodes"]:
        sleeping["mode"] = 0


def _change_value(graph: Graph, scope: Graph, node: Node, definitions: Definitions, random: Random) -> None:
    """To another of its kind, to another choice of the node's, or to nothing."""
    values = node.get("widgets_values")
    if not isinstance(values, list) or not values:
        return
    position = random.randrange(len(values))
    old = values[position]
    if isinstance(old, bool):
        values[position] = not old
    elif isinstance(old, int | float):
        values[position] = random.choice(NUMBERS)
    elif isinstance(old, str):
        values[position] = random.choice((*TEXTS, *_choices(definitions.get(str(node.get("type")), {}), old)))
    else:
        values[position] = None


def _choices(definition: Mapping[str, Any], old: str) -> list[str]:
    """The other choices of every list of the node's that has `old`."""
    found: list[str] = []
    for group in definition.get("input", {}).values():
        for spec in group.values() if isinstance(group, dict) else ():
            if not isinstance(spec, list) or not spec:
                continue
            options = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
            listed = spec[0] if isinstance(spec[0], list) else options.get("options", [])
            keys = [option.get("key") if isinstance(option, dict) else option for option in listed]
            if old in keys:
                # As often as the texts, or the choices that bring inputs of their own would hardly come up.
                found += [key for key in keys if isinstance(key, str) and key != old] * 3
    return found


def _shorten_values(graph: Graph, scope: Graph, node: Node, definitions: Definitions, random: Random) -> None:
    if isinstance(values := node.get("widgets_values"), list):
        node["widgets_values"] = values[: random.choice(LENGTHS)]


def _lengthen_values(graph: Graph, scope: Graph, node: Node, definitions: Definitions, random: Random) -> None:
    if isinstance(values := node.get("widgets_values"), list):
        values.insert(random.randint(0, len(values)), random.choice((*NUMBERS, *TEXTS, None, "fixed", "randomize")))


def _drop_values(graph: Graph, scope: Graph, node: Node, definitions: Definitions, random: Random) -> None:
    node.pop("widgets_values", None)


def _cut_link(graph: Graph, scope: Graph, node: Node, definitions: Definitions, random: Random) -> None:
    """As the editor does it: out of the list, the input and the output."""
    linked = [slot for slot in node.get("inputs") or [] if slot.get("link") is not None]
    if not linked:
        return
    slot = random.choice(linked)
    number, slot["link"] = slot["link"], None
    scope["links"] = [link for link in _links(scope) if _number(link) != number]
    for other in scope["nodes"]:
        for output in other.get("outputs") or []:
            if number in (output.get("links") or []):
                output["links"].remove(number)


def _remove_node(graph: Graph, scope: Graph, node: Node, definitions: Definitions, random: Random) -> None:
    """Its links stay behind, as in a file that somebody edited."""
    scope["nodes"].remove(node)


def _turn_inputs(graph: Graph, scope: Graph, node: Node, definitions: Definitions, random: Random) -> None:
    """As a file of an older version of the node has them."""
    if scope is graph:
        random.shuffle(node.get("inputs") or [])


def _rename(graph: Graph, scope: Graph, node: Node, definitions: Definitions, random: Random) -> None:
    node["title"] = random.choice(TEXTS)


def _forget_widget_inputs(graph: Graph, scope: Graph, node: Node, definitions: Definitions, random: Random) -> None:
    """Files from before 2025 list a widget among the inputs only once it is linked."""
    slots = node.get("inputs") or []
    node["inputs"] = [slot for slot in slots if "widget" not in slot or slot.get("link") is not None]


def _insert_reroute(graph: Graph, scope: Graph, node: Node, definitions: Definitions, random: Random) -> None:
    """Into a link of the outermost graph: `node` then gets it through a Reroute."""
    linked = [slot for slot in node.get("inputs") or [] if slot.get("link") is not None]
    links = {_number(link): link for link in _links(graph) if isinstance(link, list)}
    if scope is not graph or not linked or (slot := random.choice(linked))["link"] not in links:
        return
    link = links[slot["link"]]
    number, new_link = _next_numbers(graph)
    target, position, kind = link[3], link[4], link[5]
    link[3:5] = [number, 0]
    graph["links"].append([new_link, number, 0, target, position, kind])
    slot["link"] = new_link
    inputs = [{"name": "", "type": "*", "link": link[0]}]
    outputs = [{"name": "", "type": kind, "links": [new_link]}]
    graph["nodes"].append(_node(number, "Reroute", inputs, outputs, random.choice((0, 0, 0, MUTED, BYPASSED))))


def _insert_primitive(graph: Graph, scope: Graph, node: Node, definitions: Definitions, random: Random) -> None:
    """Onto a widget of the outermost graph, which the editor shows as an input then."""
    free = [slot for slot in node.get("inputs") or [] if "widget" in slot and slot.get("link") is None]
    if scope is not graph or not free:
        return
    slot = random.choice(free)
    number, new_link = _next_numbers(graph)
    kind, widget = str(slot.get("type")), slot["widget"]
    slot["link"] = new_link
    position = node["inputs"].index(slot)
    graph["links"].append([new_link, number, 0, node["id"], position, kind])
    outputs = [{"name": kind, "type": kind, "links": [new_link], "widget": {"name": widget.get("name")}}]
    added = _node(number, "PrimitiveNode", [], outputs, random.choice((0, 0, MUTED)))
    value: object = {"INT": 3, "FLOAT": 2.5, "BOOLEAN": True}.get(kind, random.choice(TEXTS))
    graph["nodes"].append(added | {"widgets_values": [value, "fixed"] if kind in {"INT", "FLOAT"} else [value]})


def _copy_node(graph: Graph, scope: Graph, node: Node, definitions: Definitions, random: Random) -> None:
    """Unlinked; of a subgraph this makes a second instance."""
    if scope is not graph:
        return
    number, _ = _next_numbers(graph)
    copied = copy.deepcopy(node) | {"id": number}
    for slot in copied.get("inputs") or []:
        slot["link"] = None
    for slot in copied.get("outputs") or []:
        slot["links"] = []
    graph["nodes"].append(copied)


def _use_twice(graph: Graph, scope: Graph, node: Node, definitions: Definitions, random: Random) -> None:
    """The id of another node, which a file may hold inside a subgraph."""
    other = random.choice(graph["nodes"])
    if scope is not graph and json.dumps(scope).count(f'"id": {node["id"]},') == 1:
        _renumber(scope, node["id"], other["id"])


def _renumber(scope: Graph, old: object, new: object) -> None:
    if any(node["id"] == new for node in scope["nodes"]):
        return
    for node in scope["nodes"]:
        if node["id"] == old:
            node["id"] = new
    for link in scope["links"]:
        for end in ("origin_id", "target_id"):
            if link[end] == old:
                link[end] = new


def _next_numbers(graph: Graph) -> tuple[int, int]:
    """A node id and a link id that nothing in the graph has; both are counted up."""
    scopes = _scopes(graph)
    ids = [node["id"] for scope in scopes for node in scope.get("nodes", []) if isinstance(node["id"], int)]
    links = [_number(link) for scope in scopes for link in _links(scope)]
    graph["last_node_id"] = max([int(graph.get("last_node_id") or 0), *ids]) + 1
    graph["last_link_id"] = max([int(graph.get("last_link_id") or 0), *links]) + 1
    return int(graph["last_node_id"]), int(graph["last_link_id"])


def _links(scope: Graph) -> list[Any]:
    return [link for link in scope.get("links") or [] if link]


def _number(link: Any) -> int:
    return int(link["id"] if isinstance(link, dict) else link[0])


def _node(number: int, kind: str, inputs: list[Node], outputs: list[Node], mode: int) -> Node:
    shape = {"pos": [0, 0], "size": [200, 60], "flags": {}, "order": 0, "properties": {}}
    return {"id": number, "type": kind, "mode": mode, "inputs": inputs, "outputs": outputs, **shape}


Change = Callable[[Graph, Graph, Node, Definitions, Random], None]
CHANGES: tuple[Change, ...] = (
    *(_mute, _bypass, _bypass, _bypass, _activate),
    *(_change_value, _change_value, _change_value, _shorten_values, _lengthen_values, _drop_values),
    *(_cut_link, _cut_link, _remove_node, _turn_inputs, _forget_widget_inputs, _rename),
    *(_insert_reroute, _insert_reroute, _insert_primitive, _insert_primitive, _copy_node, _use_twice),
)
