"""Two prompts beside each other: where they differ, and whether that is meant."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from services.comfyui import Prompt
from services.workflows.document import Graph

ABSENT = "nothing"
MOST_SHOWN = 200


class Difference(Struct, frozen=True):
    """`what`: `node`, `class` or the name of an input. Values are JSON."""

    node_id: str
    class_type: str
    what: str
    theirs: str
    ours: str

    def __str__(self) -> str:
        theirs, ours = self.theirs[:MOST_SHOWN], self.ours[:MOST_SHOWN]
        return f"node {self.node_id} ({self.class_type}), {self.what}: theirs {theirs}, ours {ours}"


class Explanation(Struct, frozen=True):
    reason: str
    holds: Callable[[Graph, Difference], bool]


def _has_group_node(graph: Graph, found: Difference) -> bool:
    return any(str(node.get("type")).startswith(("workflow>", "workflow/")) for node in graph["nodes"])


def _has_gap_in_links(graph: Graph, found: Difference) -> bool:
    return None in (graph.get("links") or [])


def _is_saved_by_name(graph: Graph, found: Difference) -> bool:
    """Whether the node's values are an object; in a subgraph it is known by the last part of its id."""
    scopes = [graph, *(graph.get("definitions") or {}).get("subgraphs", [])]
    nodes = [node for scope in scopes for node in scope["nodes"] if str(node["id"]) == found.node_id.split(":")[-1]]
    return any(isinstance(node.get("widgets_values"), dict) for node in nodes)


# What the front end does, and we knowingly do otherwise: docs/workflows.md.
EXPLAINED = (
    Explanation(
        "the pictures of a 3D scene, which the editor draws and uploads: the conversion says that it needs the editor",
        lambda _graph, found: found.class_type == "Load3D" and found.what == "image",
    ),
    Explanation(
        "the camera of a 3D view, which depends on the editor's window",
        lambda _graph, found: found.what == "viewport_state",
    ),
    Explanation("group nodes: the front end mixes their values up, and forgets their mode", _has_group_node),
    Explanation("values saved by name: the scripts of node packs read them, the front end does not", _is_saved_by_name),
    Explanation("a gap in the list of links: the front end opens nothing", _has_gap_in_links),
)


def differences(theirs: Prompt, ours: Prompt) -> list[Difference]:
    """In the order of their prompt; the order of keys says nothing.

    Titles, which nothing reads when it runs, are left out: those of most nodes are the front end's translations.
    """
    found: list[Difference] = []
    for node_id in dict.fromkeys([*theirs, *ours]):
        left, right = theirs.get(node_id), ours.get(node_id)
        name = str((right or {}).get("class_type") or (left or {}).get("class_type"))
        if left is None or right is None:
            one, other = _shown(theirs, node_id), _shown(ours, node_id)
            found.append(Difference(node_id, name, "node", one, other))
        else:
            found += [Difference(node_id, name, *difference) for difference in _of_node(left, right)]
    return found


def explanation_of(graph: Graph, difference: Difference) -> str | None:
    """Why the two differ here if that is meant."""
    return next((one.reason for one in EXPLAINED if one.holds(graph, difference)), None)


def _of_node(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    left, right = theirs["inputs"], ours["inputs"]
    if "class_type" not in theirs:
        # A class that ComfyUI does not have. The front end sends no name, and values under names that mean nothing.
        left, right = ({name: value for name, value in inputs.items() if _is_link(value)} for inputs in (left, right))
    elif theirs["class_type"] != ours["class_type"]:
        return [("class", _shown(theirs, "class_type"), _shown(ours, "class_type"))]
    return [
        (name, _shown(left, name), _shown(right, name))
        for name in dict.fromkeys([*left, *right])
        if (name in left) != (name in right) or not is_same(left[name], right[name])
    ]


def _is_link(value: object) -> bool:
    return isinstance(value, list)


def _shown(values: Mapping[str, Any], name: str) -> str:
    return json.dumps(values[name], ensure_ascii=False) if values.get(name) is not None else ABSENT


def is_same(theirs: Any, ours: Any) -> bool:
    """As JSON that JavaScript reads: it knows no integers, so that 8 is 8.0, and what is beyond 2^53 is rounded."""
    if isinstance(theirs, bool) or isinstance(ours, bool):
        return theirs is ours
    if isinstance(theirs, int | float) and isinstance(ours, int | float):
        return float(theirs) == float(ours)
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return theirs.keys() == ours.keys() and all(is_same(theirs[name], ours[name]) for name in theirs)
    if isinstance(theirs, list) and isinstance(ours, list):
        return len(theirs) == len(ours) and all(map(is_same, theirs, ours))
    return type(theirs) is type(ours) and bool(theirs == ours)
