"""Subgraphs: in which order they are built, and the nodes that stand for them with the widgets that they show."""

from collections.abc import Iterator
from typing import Any

from msgspec import UNSET, Struct

from services.errors import InvalidRequest
from services.workflows.conversion.graph import (
    NET_INPUT,
    NET_OUTPUT,
    Graph,
    LinkId,
    Net,
    Node,
    Output,
    Port,
    Socket,
    Widget,
)
from services.workflows.shape import MAX_NODES

MAX_NESTING = 100


class Inner(Struct, frozen=True):
    """What a subgraph's input reaches inside."""

    node: Node
    socket: Socket
    widget: Widget | None


def join(graph: Graph) -> list[Net]:
    """Lets each node that stands for a subgraph know it; returns the nets that are used, inner ones first.

    Raises InvalidRequest for one that contains itself, and for more nodes than a workflow may have once all are
    written out.
    """
    order: list[Net] = []
    sizes: dict[str, int] = {}
    _visit(graph, graph.root, [], sizes, order)
    for net in order:
        for node in net.nodes:
            if node.inner is not None:
                node.inner.hosts.append(node)
    return order


def _visit(graph: Graph, net: Net, path: list[str], sizes: dict[str, int], order: list[Net]) -> int:
    if net.id in path:
        raise InvalidRequest(f"the subgraph '{net.name or net.id}' contains itself")
    if len(path) > MAX_NESTING:
        raise InvalidRequest(f"the workflow's subgraphs are in one another more than {MAX_NESTING} deep")
    size = 0
    for node in net.nodes:
        inner = graph.nets.get(node.type)
        size += 1
        if inner is not None:
            node.inner = inner
            size += sizes[inner.id] if inner.id in sizes else _visit(graph, inner, [*path, net.id], sizes, order)
        if size > MAX_NODES:
            raise InvalidRequest(f"with all its subgraphs written out, the workflow has more than {MAX_NODES} nodes")
    sizes[net.id] = size
    order.append(net)
    return size


def configure_host(node: Node, net: Net) -> None:
    """The inputs are those of the subgraph; each shows the first widget that it reaches, with a value of its own."""
    saved = {socket.name: socket for socket in node.sockets}
    links = [output.links for output in node.outputs]
    node.sockets = [
        Socket(port.name, port.type, saved[port.name].link if port.name in saved else None) for port in net.inputs
    ]
    node.outputs = [Output(port.type, links[n] if n < len(links) else []) for n, port in enumerate(net.outputs)]
    node.title, node.is_built = node.title or net.name, True
    # Two inputs of one name have one value.
    known: dict[tuple[str, str], Widget] = {}
    for socket, port in zip(node.sockets, net.inputs, strict=True):
        widget = next((inner.widget for inner in reached(net, port) if inner.widget is not None), None)
        if widget is not None:
            socket.promoted = known.setdefault((socket.name, widget.kind), shown(socket, widget))
    _restore(node)


def shown(socket: Socket, widget: Widget) -> Widget:
    """What else is peculiar to the inner widget has no part in the outer one: its value is not even rounded."""
    return Widget(socket.name, widget.kind, widget.value, widget.choices, widget.limits)


def reached(net: Net, port: Port) -> list[Inner]:
    """The inputs within that an input of the subgraph is linked to. Whoever changes them clears `net.reach`."""
    if port not in net.reach:
        net.reach[port] = list(_reached(net, port))
    return net.reach[port]


def _reached(net: Net, port: Port) -> Iterator[Inner]:
    for id_ in port.links:
        link = net.links.get(id_)
        node = net.by_id.get(link.target) if link is not None else None
        socket = node.socket_of(id_) if node is not None else None
        if node is not None and socket is not None:
            yield Inner(node, socket, node.widget_of(socket))


def drop_doubled_links(net: Net) -> None:
    """Of links between the same two slots, the one that the socket names stays."""
    groups: dict[tuple[str, int, str, int], list[LinkId]] = {}
    for link in net.links.values():
        groups.setdefault((link.origin, link.origin_slot, link.target, link.target_slot), []).append(link.id)
    for (origin, slot, target, _), ids in groups.items():
        if len(ids) > 1:
            _keep_one(net, ids, net.by_id.get(target), net.by_id.get(origin), slot)
    ends: dict[tuple[str, int], LinkId] = {}
    for link in reversed(net.links.values()):
        ends[(link.origin, link.origin_slot)] = link.id
        ends[(f"to {link.target}", link.target_slot)] = link.id
    for node_id, ports in ((NET_INPUT, net.inputs), (f"to {NET_OUTPUT}", net.outputs)):
        for place, port in enumerate(ports):
            port.links = [id_ if id_ in net.links else ends.get((node_id, place), id_) for id_ in port.links]
    net.reach.clear()


def _keep_one(net: Net, ids: list[LinkId], target: Node | None, origin: Node | None, slot: int) -> None:
    doubled = set(ids)
    named = (socket.link for socket in target.sockets if socket.link in doubled) if target is not None else iter(())
    kept = next(named, ids[0])
    for id_ in ids:
        if id_ != kept:
            del net.links[id_]
    if origin is not None and 0 <= slot < len(origin.outputs):
        output = origin.outputs[slot]
        output.links = [id_ for id_ in output.links if id_ == kept or id_ not in doubled]
    for socket in target.sockets if target is not None else ():
        if socket.link in doubled:
            socket.link = kept


def _restore(node: Node) -> None:
    values = node.values if isinstance(node.values, list) else []
    parted = _set_apart(node)
    place = 0
    for socket in node.sockets:
        if socket.promoted is None:
            continue
        value = parted.get(socket.name, values[place] if place < len(values) else UNSET)
        if value is not UNSET:
            socket.promoted.value = value
        place += 1


def _set_apart(node: Node) -> dict[str, Any]:
    """Values that an earlier version of the editor could not place, by the name of the input that they are for."""
    entries = node.properties.get("proxyWidgetErrorQuarantine")
    found: dict[str, Any] = {}
    for entry in entries if isinstance(entries, list) else ():
        original = entry.get("originalEntry") if isinstance(entry, dict) else None
        if not isinstance(original, list) or len(original) < 2 or original[0] != "-1":
            continue
        value = entry.get("hostValue")
        if isinstance(original[1], str) and value is not None:
            found.setdefault(original[1], value)
    return found
