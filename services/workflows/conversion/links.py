"""Where a link of the editor comes from in the end: through reroutes, bypassed nodes, and subgraphs in both directions.

No step calls itself: a chain may be as long as the workflow. What a step leads to is remembered, so that all links
together are followed in the time of their number.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from services.workflows.conversion.graph import ANY, BYPASSED, MUTED, NET_INPUT, Net, Node, Widget
from services.workflows.conversion.virtual import REROUTE, SETTERS, is_getter, is_passing, is_virtual, variable


class Frame(Struct, eq=False):
    """One place in which a net is written out: the root, or a node that stands for a subgraph, in its own frame."""

    net: Net
    prefix: str
    host: Node | None = None
    outer: "Frame | None" = None
    inner: dict[str, "Frame"] = {}

    def of(self, node: Node) -> "Frame | None":
        """The frame within `node`."""
        if node.inner is None:
            return None
        if node.id not in self.inner:
            self.inner[node.id] = Frame(node.inner, f"{self.prefix}{node.id}:", node, self)
        return self.inner[node.id]

    def prompt_id(self, node: Node) -> str:
        return f"{self.prefix}{node.id}"


class Broken(Exception):
    """A link that leads nowhere; the text says why."""


class Origin(Struct, frozen=True):
    """An output in the prompt."""

    node_id: str
    slot: int


class _At(Struct, frozen=True, eq=False):
    """A step: an input (`is_input`) or an output of a node; `type` is what is wanted of an output."""

    frame: Frame
    node: Node
    slot: int
    type: str
    is_input: bool

    def key(self) -> tuple[int, int, int, str, bool]:
        return (id(self.frame), id(self.node), self.slot, self.type, self.is_input)


_Found = Origin | Widget | None
# With why it leads nowhere, where it does not.
_Outcome = _Found | str


class Resolver:
    """Follows links in the frames of one workflow."""

    def __init__(self, classes: Mapping[str, Any]) -> None:
        self._classes = classes
        self._known: dict[tuple[int, int, int, str, bool], _Outcome] = {}
        self._setters: dict[int, dict[str, Node]] = {}

    def source(self, frame: Frame, node: Node, slot: int) -> _Found:
        """What goes into an input: an output, or a widget on the outside of a subgraph; None for nothing at all.

        Raises Broken.
        """
        step: _At | None = _At(frame, node, slot, node.sockets[slot].type, True)
        passed: dict[tuple[int, int, int, str, bool], None] = {}
        found: _Outcome = None
        while step is not None:
            key = step.key()
            if key in self._known:
                found = self._known[key]
                break
            if key in passed:
                found = "its links lead in a circle back to where they began"
                break
            passed[key] = None
            try:
                found, step = self._into_input(step) if step.is_input else self._out_of_output(step)
            except Broken as error:
                found = str(error)
                break
        self._known.update(dict.fromkeys(passed, found))
        if isinstance(found, str):
            raise Broken(found)
        return found

    def _into_input(self, at: _At) -> tuple[_Found, _At | None]:
        socket = at.node.sockets[at.slot]
        if socket.link is None:
            return None, None
        frame = at.frame
        link = frame.net.links.get(socket.link)
        if link is None:
            raise Broken(f"the link of its input '{socket.name[:100]}' is not in the file")
        if link.origin == NET_INPUT and frame.host is not None and frame.outer is not None:
            return self._out_of_subgraph(frame.host, frame.outer, link.origin_slot)
        origin = frame.net.by_id.get(link.origin)
        if origin is None:
            raise Broken(f"the node that its input '{socket.name[:100]}' is linked to is not in the file")
        return None, _At(frame, origin, link.origin_slot, at.type, False)

    def _out_of_subgraph(self, host: Node, outer: Frame, slot: int) -> tuple[_Found, _At | None]:
        if not 0 <= slot < len(host.sockets):
            raise Broken("it is linked to an input that its subgraph does not have")
        socket = host.sockets[slot]
        if socket.link is None:
            return socket.promoted, None
        return None, _At(outer, host, slot, socket.type, True)

    def _out_of_output(self, at: _At) -> tuple[_Found, _At | None]:
        node, frame = at.node, at.frame
        if node.mode == MUTED:
            return None, None
        if node.mode == BYPASSED:
            slot = _passing_input(node, at.slot, at.type)
            return None, None if slot is None else _At(frame, node, slot, node.sockets[slot].type, True)
        if node.inner is not None:
            return self._into_subgraph(at)
        if is_getter(node.type, self._classes):
            return None, self._setter(at)
        if is_passing(node.type, self._classes):
            slot = at.slot if at.slot < len(node.sockets) else -1
            return None, None if slot < 0 else _At(frame, node, slot, at.type, True)
        if is_virtual(node.type, self._classes):
            return None, None
        return Origin(frame.prompt_id(node), at.slot), None

    def _into_subgraph(self, at: _At) -> tuple[_Found, _At | None]:
        frame = at.frame.of(at.node)
        if frame is None or not 0 <= at.slot < len(frame.net.outputs):
            raise Broken("it is linked to an output that the subgraph does not have")
        port = frame.net.outputs[at.slot]
        link = next((frame.net.links[id_] for id_ in port.links if id_ in frame.net.links), None)
        if link is None:
            return None, None
        if link.origin == NET_INPUT:
            return self._out_of_subgraph(at.node, at.frame, link.origin_slot)
        origin = frame.net.by_id.get(link.origin)
        if origin is None:
            raise Broken(f"the node behind the output '{port.name[:100]}' of a subgraph is not in the file")
        return None, _At(frame, origin, link.origin_slot, at.type, False)

    def _setter(self, at: _At) -> _At | None:
        """In the same graph, or one around it."""
        name, frame = variable(at.node), at.frame
        while name is not None:
            setter = self._setters_in(frame.net).get(name)
            if setter is not None and setter.sockets:
                return _At(frame, setter, 0, at.type, True)
            if frame.outer is None:
                break
            frame = frame.outer
        raise Broken(f"there is no node that sets '{(name or '')[:100]}'")

    def _setters_in(self, net: Net) -> dict[str, Node]:
        if id(net) not in self._setters:
            setters = [node for node in reversed(net.nodes) if node.type in SETTERS]
            self._setters[id(net)] = {name: node for node in setters if (name := variable(node)) is not None}
        return self._setters[id(net)]


def cut_misfits(net: Net) -> None:
    """Takes away links that go through reroutes to an input of another type, as the editor does once it has loaded."""
    types: dict[str, str | None] = {}
    for node in net.nodes:
        for socket in node.sockets if node.type != REROUTE else ():
            link = net.links.get(socket.link) if socket.link is not None else None
            origin = net.by_id.get(link.origin) if link is not None else None
            if origin is None or origin.type != REROUTE:
                continue
            type_ = _type_into(net, origin, types)
            if type_ is not None and not fit(type_, socket.type):
                socket.link = None


def _type_into(net: Net, reroute: Node, types: dict[str, str | None]) -> str | None:
    """The type of what comes into a chain of reroutes; None if that is not known."""
    passed: dict[str, None] = {}
    type_, node = None, reroute
    while node.id not in types and node.id not in passed:
        passed[node.id] = None
        link = net.links.get(socket) if node.sockets and (socket := node.sockets[0].link) is not None else None
        origin = net.by_id.get(link.origin) if link is not None else None
        if link is None or origin is None:
            break
        if origin.type != REROUTE:
            type_ = origin.outputs[link.origin_slot].type if 0 <= link.origin_slot < len(origin.outputs) else None
            break
        node = origin
    else:
        type_ = types.get(node.id)
    types.update(dict.fromkeys(passed, type_))
    return type_


def _passing_input(node: Node, slot: int, type_: str) -> int | None:
    """The input that takes the place of an output of a bypassed node, for what wants `type_`."""
    sockets = node.sockets
    if type_ in ("", ANY):
        return (slot if 0 <= slot < len(sockets) else 0) if sockets else None
    output = node.outputs[slot].type if 0 <= slot < len(node.outputs) else ANY

    def is_fit(place: int) -> bool:
        return fit(sockets[place].type, output) and fit(sockets[place].type, type_)

    if 0 <= slot < len(sockets) and is_fit(slot):
        return slot
    exact = next((place for place, socket in enumerate(sockets) if socket.type == type_), None)
    return exact if exact is not None else next(filter(is_fit, range(len(sockets))), None)


def fit(type_: str, other: str) -> bool:
    """Whether a link may join them: types may be lists with commas, and case does not matter."""
    if type_ in ("", ANY) or other in ("", ANY):
        return True
    ours, theirs = set(type_.lower().split(",")), set(other.lower().split(","))
    return not ours.isdisjoint(theirs) or bool({"", ANY} & (ours | theirs))
