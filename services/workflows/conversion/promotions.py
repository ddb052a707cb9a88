"""Widgets that a subgraph shows by the older way: a list on the node that stands for it, `proxyWidgets`.

The editor turns each entry [inner node, widget] into an input of the subgraph, and gives it the value in its place
of the node's saved values. Entries that lead nowhere keep their place.
"""

import json
import re
from typing import Any

from msgspec import UNSET, Struct

from services.workflows.conversion.graph import MAX_SLOTS, NET_INPUT, Link, LinkId, Net, Node, Port, Socket, Widget
from services.workflows.conversion.subgraphs import reached, shown
from services.workflows.conversion.virtual import PRIMITIVE

_PREFIX = re.compile(r"\s*(\d{1,16})\s*:\s*(.+)")
_MAX_DEPTH = 100
_MAX_ENTRIES = 1_000
# On an inner PrimitiveNode: the input that took its place.
_BYPASSED_TO = "proxyBypassedToSubgraphInput"


class _Entry(Struct, frozen=True):
    node_id: str
    widget: str
    inner_id: str | None
    # UNSET where the node holds none.
    value: Any


class _Target(Struct, frozen=True):
    node: Node
    socket: Socket


def migrate(host: Node) -> None:
    """Makes inputs of the node's `proxyWidgets`, in the subgraph and on every node that stands for it."""
    net = host.inner
    if net is None:
        return
    entries = [_normalized(net, entry) for entry in _entries(host)]
    known: dict[tuple[str, str] | None, Socket] = {}
    for socket, port in zip(host.sockets, net.inputs, strict=False):
        known.setdefault(_source(net, port), socket)
    # All are looked up before the first changes anything.
    planned = [(entry, known.get((entry.node_id, entry.widget)) or _bypassed(host, net, entry)) for entry in entries]
    primitives: dict[str, list[_Entry]] = {}
    for entry, known_socket in planned:
        inner = net.by_id.get(entry.node_id)
        if known_socket is not None:
            _set(host, known_socket.name, entry.value)
        elif inner is not None and inner.type == PRIMITIVE:
            primitives.setdefault(inner.id, []).append(entry)
        elif inner is not None:
            _promote(host, net, inner, entry)
    for node_id, same in primitives.items():
        _replace_primitive(host, net, net.by_id[node_id], same)
    for entry, known_socket in planned:
        if known_socket is None and entry.node_id == "-1":
            _set_by_name(host, entry)


def _entries(host: Node) -> list[_Entry]:
    """All or none: one entry of another form, and the editor takes the list for none."""
    listed = host.properties.get("proxyWidgets")
    if isinstance(listed, str):
        try:
            listed = json.loads(listed)
        except (ValueError, RecursionError):
            return []
    if not isinstance(listed, list) or len(listed) > _MAX_ENTRIES:
        return []
    values = host.values if isinstance(host.values, list) else []
    found = []
    for place, entry in enumerate(listed):
        if not isinstance(entry, list) or len(entry) not in (2, 3) or not all(isinstance(part, str) for part in entry):
            return []
        value = values[place] if place < len(values) and values[place] is not None else UNSET
        found.append(_Entry(entry[0], entry[1], entry[2] if len(entry) == 3 else None, value))
    return found


def _normalized(net: Net, entry: _Entry) -> _Entry:
    """Older still: the way to a widget deep inside, written before its name."""
    if _leads_to_widget(net, entry.node_id, entry.widget):
        return entry
    name, inner_id = entry.widget, entry.inner_id
    while (match := _PREFIX.fullmatch(name)) is not None:
        inner_id, name = match.group(1), match.group(2)
    return _Entry(entry.node_id, name, inner_id, entry.value)


def _leads_to_widget(net: Net, node_id: str, name: str) -> bool:
    for _ in range(_MAX_DEPTH):
        node = net.by_id.get(node_id)
        if node is None:
            return False
        if node.inner is None:
            return node.widget(name) is not None
        port = next((port for port in node.inner.inputs if port.name == name), None)
        source = _source(node.inner, port) if port is not None else None
        if source is None:
            return False
        net, (node_id, name) = node.inner, source
    return False


def _source(net: Net, port: Port) -> tuple[str, str] | None:
    """The inner node and widget that an input of a subgraph stands for."""
    for inner in reached(net, port):
        if inner.node.inner is not None:
            return inner.node.id, inner.socket.name
        if inner.widget is not None:
            return inner.node.id, inner.widget.name
    return None


def _bypassed(host: Node, net: Net, entry: _Entry) -> Socket | None:
    """The input that took the place of the PrimitiveNode that the entry names."""
    inner = net.by_id.get(entry.node_id)
    name = inner.properties.get(_BYPASSED_TO) if inner is not None and inner.type == PRIMITIVE else None
    return next((socket for socket in host.sockets if socket.name == name), None) if isinstance(name, str) else None


def _set(host: Node, name: str, value: Any) -> None:
    same = [socket for socket in host.sockets if socket.name == name]
    if len(same) == 1 and same[0].promoted is not None and value is not UNSET:
        same[0].promoted.value = value


def _set_by_name(host: Node, entry: _Entry) -> None:
    socket = next((socket for socket in host.sockets if socket.name == entry.widget), None)
    if socket is not None and socket.promoted is not None and entry.value is not UNSET:
        socket.promoted.value = entry.value


def _promote(host: Node, net: Net, inner: Node, entry: _Entry) -> None:
    """A new input, unless the widget has no socket, as previews and `control_after_generate` have none."""
    found = _socket_of(inner, entry)
    if found is None or entry.widget.startswith("$$"):
        return
    port = _add_port(net, entry.widget, found.type)
    if port is not None:
        _connect(net, port, [_Target(inner, found)])
        _set(host, port.name, entry.value)


def _socket_of(inner: Node, entry: _Entry) -> Socket | None:
    """The socket whose widget the entry names."""
    if inner.inner is None:
        own = (socket for socket in inner.sockets if socket.widget == entry.widget)
        return next(own, None) if inner.widget(entry.widget) is not None else None
    for socket, port in zip(inner.sockets, inner.inner.inputs, strict=False):
        source = _source(inner.inner, port)
        if entry.inner_id is not None:
            is_meant = source == (entry.inner_id, entry.widget)
        else:
            is_meant = socket.name == entry.widget or (source is not None and source[1] == entry.widget)
        if is_meant:
            return socket if socket.promoted is not None else None
    return None


def _add_port(net: Net, name: str, type_: str) -> Port | None:
    """None where a subgraph has more inputs than anyone could see."""
    if len(net.inputs) >= MAX_SLOTS:
        return None
    taken = {port.name for port in net.inputs}
    unique, number = name, 1
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    port = Port(unique, type_, [])
    net.inputs.append(port)
    for node in net.hosts:
        if node.is_built:
            node.sockets.append(Socket(unique, type_))
    return port


def _connect(net: Net, port: Port, targets: list[_Target]) -> None:
    """Joins a new input to what it sets; the nodes that stand for the subgraph show the first widget of it."""
    place = len(net.inputs) - 1
    last = max((id_ for id_ in net.links if isinstance(id_, int)), default=0)
    for number, target in enumerate(targets, last + 1):
        _cut(net, target.socket)
        widget = target.node.widget_of(target.socket)
        for host in net.hosts if widget is not None else ():
            if host.is_built and (outer := host.sockets[-1]).promoted is None:
                outer.promoted = shown(outer, widget) if widget is not None else None
        net.links[number] = Link(number, NET_INPUT, place, target.node.id, target.node.sockets.index(target.socket))
        port.links.append(number)
        target.socket.link = number
    net.reach.clear()


def _cut(net: Net, socket: Socket) -> None:
    link = net.links.pop(socket.link, None) if socket.link is not None else None
    socket.link = None
    if link is None:
        return
    origin = net.by_id.get(link.origin)
    if origin is not None and 0 <= link.origin_slot < len(origin.outputs):
        output = origin.outputs[link.origin_slot]
        output.links = [id_ for id_ in output.links if id_ != link.id]
    if link.origin == NET_INPUT and 0 <= link.origin_slot < len(net.inputs):
        port = net.inputs[link.origin_slot]
        port.links = [id_ for id_ in port.links if id_ != link.id]


def _replace_primitive(host: Node, net: Net, primitive: Node, entries: list[_Entry]) -> None:
    """An input takes the place of an inner PrimitiveNode, if all that it sets can be one input."""
    if not primitive.outputs or len({entry.widget for entry in entries}) > 1:
        return
    output = primitive.outputs[0]
    targets = _targets(net, output.links)
    if not targets or any(not _fit(target.socket.type, output.type) for target in targets):
        return
    widgets = [target.node.widget_of(target.socket) for target in targets]
    first = next((widget for widget in widgets if widget is not None), None)
    if any(widget is not None and first is not None and not _alike(first, widget) for widget in widgets):
        return
    renamed = primitive.title if primitive.title not in ("", PRIMITIVE) else entries[0].widget
    port = _add_port(net, renamed, output.type)
    if port is None:
        return
    _connect(net, port, targets)
    _set(host, port.name, next((entry.value for entry in entries if entry.value is not UNSET), UNSET))
    primitive.properties = {**primitive.properties, _BYPASSED_TO: port.name}


def _targets(net: Net, links: list[LinkId]) -> list[_Target]:
    """Empty if one of them is not there. By slot, as saved: at this point the editor has nothing better."""
    found = []
    for id_ in links if len(links) <= MAX_SLOTS else ():
        link = net.links.get(id_)
        node = net.by_id.get(link.target) if link is not None else None
        if link is None or node is None or not 0 <= link.target_slot < len(node.sockets):
            return []
        found.append(_Target(node, node.sockets[link.target_slot]))
    return found


def _fit(type_: str, other: str) -> bool:
    return type_ == other or "*" in (type_, other)


def _alike(widget: Widget, other: Widget) -> bool:
    return widget.kind == other.kind and widget.limits == other.limits
