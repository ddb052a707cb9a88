"""Writing a graph that is loaded as the prompt that the server takes."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from msgspec import UNSET

from services.comfyui import Prompt
from services.errors import InvalidRequest
from services.workflows.conversion.definitions import NodeClass
from services.workflows.conversion.graph import BYPASSED, MUTED, Graph, Node, Widget
from services.workflows.conversion.group_nodes import group_name
from services.workflows.conversion.links import Broken, Frame, Origin, Resolver
from services.workflows.conversion.numbers import sent
from services.workflows.conversion.problem import Unconverted
from services.workflows.conversion.texts import MAX_CHOSEN_CHARACTERS, SAVING, Choose, chosen, filled
from services.workflows.conversion.viewports import viewport
from services.workflows.conversion.virtual import is_virtual

# Their values are made in the browser, of what is drawn, seen or heard there.
_NEEDS_BROWSER = {
    "Load3D": "its picture is drawn by ComfyUI's editor: run this workflow there",
    "WebcamCapture": "it takes pictures with the camera of ComfyUI's editor: run this workflow there",
    "RecordAudio": "it records sound in ComfyUI's editor: run this workflow there",
}
_MAX_INPUTS = 200_000
_SUBGRAPH_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Writer:
    """Writes one workflow out, net by net."""

    def __init__(self, graph: Graph, classes: Mapping[str, NodeClass], choose: Choose | None, now: datetime) -> None:
        self._graph = graph
        self._classes = classes
        self._choose = choose
        self._now = now
        self._root = Frame(graph.root, "")
        self._links = Resolver(classes)
        self._prompt: Prompt = {}
        self._problems: list[Unconverted] = []
        self._names: dict[str, Node] | None = None
        self._texts: list[tuple[str, str]] = []
        self._inputs = 0
        self._room = MAX_CHOSEN_CHARACTERS

    def write(self) -> tuple[Prompt, tuple[Unconverted, ...], tuple[tuple[str, str], ...]]:
        """Raises InvalidRequest for more inputs than any workflow has."""
        self._write_net(self._root)
        for node in self._prompt.values():
            inputs = node["inputs"]
            node["inputs"] = {
                name: value for name, value in inputs.items() if not isinstance(value, list) or value[0] in self._prompt
            }
        return self._prompt, tuple(self._problems), tuple(self._texts)

    def _write_net(self, frame: Frame) -> None:
        for node in frame.net.nodes:
            inner = frame.of(node)
            if inner is not None:
                # A subgraph within another is written out in any case: the editor mutes what is in it one by one.
                if frame.outer is not None or node.mode not in (MUTED, BYPASSED):
                    self._write_net(inner)
            elif node.mode not in (MUTED, BYPASSED) and not is_virtual(node.type, self._classes):
                self._write(frame, node)

    def _write(self, frame: Frame, node: Node) -> None:
        if (reason := self._why_not(frame, node)) is not None:
            self._problem(frame, node, reason)
            return
        self._inputs += len(node.sockets) + len(node.widgets)
        if self._inputs > _MAX_INPUTS:
            raise InvalidRequest(f"with all its subgraphs written out, the workflow has more than {_MAX_INPUTS} inputs")
        inputs: dict[str, Any] = {}
        texts: dict[str, None] = {}
        for widget in node.widgets:
            if widget.is_sent and widget.name:
                _put(inputs, widget.name, self._value(node, widget), widget.kind)
                if _is_text(widget):
                    texts[widget.name] = None
        broken: Broken | None = None
        for slot, socket in enumerate(node.sockets):
            try:
                source = self._links.source(frame, node, slot)
            except Broken as error:
                broken = broken or error
                continue
            if source is None:
                continue
            # What is set on the outside of a subgraph goes out as it is written.
            texts.pop(socket.name, None)
            if isinstance(source, Origin):
                inputs[socket.name] = [source.node_id, source.slot]
            else:
                _put(inputs, socket.name, source.value, "")
        if broken is not None:
            self._problem(frame, node, str(broken))
        elif node.type in _NEEDS_BROWSER and node.type in self._classes:
            self._problem(frame, node, _NEEDS_BROWSER[node.type])
        title, id_ = node.title or node.type, frame.prompt_id(node)
        self._prompt[id_] = {"inputs": inputs, "class_type": node.type, "_meta": {"title": title}}
        self._texts += ((id_, name) for name in texts)

    def _why_not(self, frame: Frame, node: Node) -> str | None:
        if frame.net.by_id[node.id] is not node:
            return f"another node has the id {node.id} too"
        if node.type in self._classes:
            return None
        if (name := group_name(node.type)) is not None:
            return f"the group node '{name[:100]}' has no definition in the file"
        if _SUBGRAPH_ID.fullmatch(node.type):
            return "the subgraph that it stands for is not in the file"
        return None

    def _problem(self, frame: Frame, node: Node, reason: str) -> None:
        self._problems.append(Unconverted(frame.prompt_id(node), node.type, node.title or node.type, reason))

    def _value(self, node: Node, widget: Widget) -> Any:
        value = widget.value
        if widget.kind == "index":
            choices = (place for place, other in enumerate(node.widgets[2:]) if other.value == node.widgets[0].value)
            return next(choices, -1)
        if widget.kind == "viewport":
            return viewport(node)
        if self._choose is not None and _is_text(widget):
            self._room -= len(value)
            return chosen(value, self._choose) if self._room >= 0 else value
        if isinstance(value, str) and widget.name == "filename_prefix" and node.type in SAVING:
            return filled(value, self._named, self._now)
        return value

    def _named(self, name: str) -> Node | None:
        """A node by the name that file names call it by, else by its title."""
        if self._names is None:
            known = [node for node in _all_nodes(self._root) if node.type in self._classes or node.inner is not None]
            titles = {node.title: node for node in reversed(known)}
            self._names = {**titles, **{own: node for node in reversed(known) if (own := _own_name(node)) is not None}}
        return self._names.get(name)


def _is_text(widget: Widget) -> bool:
    """One that may hold choices."""
    return widget.is_dynamic_text and isinstance(widget.value, str)


def _put(inputs: dict[str, Any], name: str, value: Any, kind: str) -> None:
    """Lists are links in a prompt: those that are values are wrapped."""
    if value is UNSET:
        inputs.pop(name, None)
    elif isinstance(value, list):
        inputs[name] = (
            {"__type__": "CURVE", "__value__": sent(value)} if kind == "curve" else {"__value__": sent(value)}
        )
    else:
        inputs[name] = sent(value)


def _own_name(node: Node) -> str | None:
    own = node.properties.get("Node name for S&R")
    if isinstance(own, str):
        return own
    return node.type if node.type not in SAVING and node.inner is None else None


def _all_nodes(frame: Frame) -> Iterator[Node]:
    for node in frame.net.nodes:
        inner = frame.of(node)
        if inner is not None:
            yield from _all_nodes(inner)
        yield node
