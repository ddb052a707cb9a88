"""Draws graphs as the editor saves them, for `odd_graphs.py`."""

from typing import Any

from services.workflows.document import Graph

Node = dict[str, Any]
# (name, type), and True where the input belongs to a widget.
Input = tuple[str, str] | tuple[str, str, bool]


def node(
    number: int,
    kind: str,
    values: Any = None,
    inputs: tuple[Input, ...] = (),
    outputs: tuple[str, ...] = (),
    **facts: Any,
) -> Node:
    drawn: Node = {
        "id": number,
        "type": kind,
        "pos": [0, 0],
        "size": [200, 100],
        "flags": {},
        "order": number,
        "mode": 0,
    }
    drawn["inputs"] = [
        {"name": name, "type": type_, "link": None} | ({"widget": {"name": name}} if is_widget else {})
        for name, type_, *is_widget in inputs
    ]
    drawn["outputs"] = [{"name": type_, "type": type_, "links": []} for type_ in outputs]
    drawn["properties"] = {"Node name for S&R": kind}
    if values is not None:
        drawn["widgets_values"] = values
    return drawn | facts


def primitive(number: int, value: object, type_: str, widget: str, **facts: Any) -> Node:
    drawn = node(number, "PrimitiveNode", [value, "fixed"], outputs=(type_,), **facts)
    drawn["outputs"][0]["widget"] = {"name": widget}
    return drawn


def reroute(number: int, type_: str, **facts: Any) -> Node:
    return node(number, "Reroute", inputs=(("", "*"),), outputs=(type_,), **facts)


class Drawing:
    """A graph of the outermost level. `link(1, 0, 5, "model")`: from the first output of node 1."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes = {drawn["id"]: drawn for drawn in nodes}
        self.links: list[Any] = []
        self.subgraphs: list[Graph] = []
        self.extra: dict[str, Any] = {}

    def add(self, drawn: Node) -> "Drawing":
        self.nodes[drawn["id"]] = drawn
        return self

    def link(self, origin: int, slot: int, target: int, name: str) -> "Drawing":
        """In place of what the input was linked to."""
        number = 1 + max((link[0] for link in self.links), default=0)
        output, inputs = self.nodes[origin]["outputs"][slot], self.nodes[target]["inputs"]
        position = next(place for place, one in enumerate(inputs) if one["name"] == name)
        self.cut(inputs[position]["link"])
        inputs[position]["link"] = number
        output["links"].append(number)
        self.links.append([number, origin, slot, target, position, output["type"]])
        return self

    def cut(self, number: int | None) -> None:
        self.links = [link for link in self.links if link[0] != number]
        for drawn in self.nodes.values():
            for output in drawn["outputs"]:
                output["links"] = [link for link in output["links"] if link != number]

    def graph(self) -> Graph:
        return {
            "last_node_id": max(self.nodes),
            "last_link_id": max((link[0] for link in self.links), default=0),
            "nodes": list(self.nodes.values()),
            "links": self.links,
            "groups": [],
            "config": {},
            "extra": self.extra,
            "version": 0.4,
        } | ({"definitions": {"subgraphs": self.subgraphs}} if self.subgraphs else {})


def subgraph(
    identity: str, nodes: list[Node], links: list[tuple[int, int, int, int, str]], *, inputs: list[tuple[str, str]]
) -> Graph:
    """With one output, of the last link's type. Links: origin, slot, target, slot, type; -10 is the way in, -20 out."""
    drawn = [
        {"id": number, "origin_id": one, "origin_slot": out, "target_id": other, "target_slot": into, "type": type_}
        for number, (one, out, other, into, type_) in enumerate(links, 1)
    ]
    for link in drawn:
        for one in nodes:
            if one["id"] == link["target_id"]:
                one["inputs"][link["target_slot"]]["link"] = link["id"]
            if one["id"] == link["origin_id"]:
                one["outputs"][link["origin_slot"]]["links"].append(link["id"])
    ways_in = [
        {"id": f"{identity[:-2]}{place:02}", "name": name, "type": type_, "pos": [0, 0]}
        | {"linkIds": [link["id"] for link in drawn if (link["origin_id"], link["origin_slot"]) == (-10, place)]}
        for place, (name, type_) in enumerate(inputs)
    ]
    last = drawn[-1]
    way_out = {"id": f"{identity[:-2]}99", "name": last["type"], "type": last["type"], "linkIds": [last["id"]]}
    return {
        "id": identity,
        "version": 1,
        "revision": 0,
        "name": "A part",
        "state": {"lastGroupId": 0, "lastNodeId": max(one["id"] for one in nodes), "lastLinkId": len(links)},
        "config": {},
        "inputNode": {"id": -10, "bounding": [0, 0, 100, 100]},
        "outputNode": {"id": -20, "bounding": [0, 0, 100, 100]},
        "inputs": ways_in,
        "outputs": [way_out | {"pos": [0, 0]}],
        "widgets": [],
        "nodes": nodes,
        "groups": [],
        "links": drawn,
        "extra": {},
    }
