"""Group nodes, what came before subgraphs: each is made a subgraph of its own, as the editor does when it loads one.

The group is saved in the workflow's `extra`: nodes without ids, and links by the nodes' places. Inputs and widgets of
the node that stands for it are those of the nodes inside that no link within takes, each by a name that was free.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from services.errors import InvalidRequest
from services.workflows.conversion.definitions import InputSpec, NodeClass
from services.workflows.conversion.graph import NET_INPUT, NET_OUTPUT, Graph, Link, Net, Node, Port, Socket
from services.workflows.conversion.graph_file import link_ends, read_node
from services.workflows.conversion.virtual import PRIMITIVE, REROUTE
from services.workflows.conversion.widgets import has_widget_type, is_widget, make_widgets
from services.workflows.shape import MAX_NODES

_MAX_NESTING = 20


class _Place(Struct, frozen=True):
    """An input of a node inside; `spec` where it has a widget that the group shows."""

    node: Node
    input: str
    type: str
    spec: InputSpec | None


class _Count(Struct):
    """What all groups of a workflow together have been given."""

    last_node_id: int
    nodes: int = 0
    nets: int = 0

    def next_id(self) -> str:
        self.last_node_id, self.nodes = self.last_node_id + 1, self.nodes + 1
        if self.nodes > MAX_NODES:
            raise InvalidRequest(f"with all its group nodes written out, the workflow has more than {MAX_NODES} nodes")
        return str(self.last_node_id)


def group_name(type_: str) -> str | None:
    """The group that a node's type names."""
    for prefix in ("workflow>", "workflow/"):
        if type_.startswith(prefix):
            return type_.removeprefix(prefix)
    return None


def classes_of(graph: Graph) -> set[str]:
    """The classes of the nodes inside all groups."""
    nodes = [node for group in graph.groups.values() for node in _nodes(group)]
    return {type_ for node in nodes if isinstance(type_ := node.get("type"), str)}


def unpack(graph: Graph, classes: Mapping[str, NodeClass]) -> None:
    """Raises InvalidRequest. A node whose group is not in the file, or within itself, stays as it is."""
    if graph.groups:
        ids = [int(node.id) for node in graph.root.nodes if node.id.isdecimal() and len(node.id) < 10]
        count = _Count(max([graph.last_node_id, *ids]))
        _unpack(graph, graph.root, classes, count, ())
        graph.last_node_id = count.last_node_id


def _unpack(graph: Graph, net: Net, classes: Mapping[str, NodeClass], count: _Count, path: tuple[str, ...]) -> None:
    renamed: dict[str, str] = {}
    for node in net.nodes:
        name = group_name(node.type)
        group = graph.groups.get(name) if name is not None and name not in path else None
        if name is None or not _nodes(group) or len(path) > _MAX_NESTING:
            continue
        inner = _net(node, group, classes, count, f"{node.type}#{count.nets}")
        count.nets += 1
        _unpack(graph, inner, classes, count, (*path, name))
        graph.nets[inner.id] = inner
        renamed[node.id] = node_id = count.next_id()
        node.id, node.type, node.values = node_id, inner.id, None
    for link in net.links.values() if renamed else ():
        link.origin = renamed.get(link.origin, link.origin)
        link.target = renamed.get(link.target, link.target)


def _net(host: Node, group: Any, classes: Mapping[str, NodeClass], count: _Count, id_: str) -> Net:
    nodes = [
        read_node({**node, "id": count.next_id()}, f"the group node '{host.type[:100]}'") for node in _nodes(group)
    ]
    net = Net(id_, host.type, nodes, {}, [], [])
    for node in nodes:
        node.links = net.links
        for socket in node.sockets:
            socket.link = None
        for output in node.outputs:
            output.links = []
    _link_inside(net, group, classes)
    places = _places(net, classes)
    _give_values(host, places)
    saved = {socket.name: socket for socket in host.sockets}
    for name, place in places.items():
        if name in saved and saved[name].link is not None:
            _add_input(net, name, place)
    _add_outputs(net, group, classes)
    return net


def _link_inside(net: Net, group: Mapping[str, Any], classes: Mapping[str, NodeClass]) -> None:
    links = group.get("links")
    for saved in links if isinstance(links, list) else ():
        ends = link_ends(saved)
        if ends is None or not all(0 <= place < len(net.nodes) for place in (ends[0], ends[2])):
            continue
        origin, target = net.nodes[ends[0]], net.nodes[ends[2]]
        name = _input_at(target, ends[3], classes)
        if name is not None:
            link = _add_link(net, origin.id, ends[1], target.id, ends[3])
            _socket(target, name).link = link.id
            if ends[1] < len(origin.outputs):
                origin.outputs[ends[1]].links.append(link.id)


def _input_at(node: Node, slot: int, classes: Mapping[str, NodeClass]) -> str | None:
    if slot < len(node.sockets):
        return node.sockets[slot].name
    class_ = classes.get(node.type)
    names = [spec.name for spec in class_.declared if not is_widget(spec)] if class_ is not None else []
    return names[slot] if slot < len(names) else None


def _places(net: Net, classes: Mapping[str, NodeClass]) -> dict[str, _Place]:
    """What the group shows, by name and in its order: widgets and inputs node by node, converted widgets at the end."""
    shown: dict[str, _Place] = {}
    seen: dict[str, int] = {}
    late: list[tuple[Node, list[_Place]]] = []
    for node in net.nodes:
        places = _places_of(node, net, classes)
        linked = {socket.name for socket in node.sockets if socket.link is not None}
        converted = {socket.name for socket in node.sockets if socket.widget is not None} - linked
        free = [place for place in places if place.input not in linked]
        first = [place for place in free if place.spec is not None and place.input not in converted]
        for place in [*first, *(place for place in free if place.spec is None)]:
            shown[_free_name(place, seen)] = place
        late.append((node, [place for place in free if place.spec is not None and place.input in converted]))
    for _, places in late:
        for place in places:
            shown[_free_name(place, seen)] = _Place(place.node, place.input, place.type, place.spec)
    return shown


def _places_of(node: Node, net: Net, classes: Mapping[str, NodeClass]) -> list[_Place]:
    class_ = classes.get(node.type)
    if class_ is not None:
        return [_Place(node, spec.name, spec.type, spec if is_widget(spec) else None) for spec in class_.declared]
    if node.type == PRIMITIVE and (type_ := _primitive_type(node, net, classes)) is not None:
        return [_Place(node, "value", type_.type, type_)]
    if node.type == REROUTE and node.sockets and node.sockets[0].link is None:
        links = [link for link in net.links.values() if link.origin == node.id]
        target = next((other for other in net.nodes if links and other.id == links[0].target), None)
        socket = target.socket_of(links[0].id) if target is not None else None
        return [_Place(node, socket.type if socket is not None else "*", "*", None)]
    return []


def _primitive_type(node: Node, net: Net, classes: Mapping[str, NodeClass]) -> InputSpec | None:
    """The value of a primitive inside, of the type of the first input that it is for."""
    link = next((link for link in net.links.values() if link.origin == node.id), None)
    target = next((other for other in net.nodes if link is not None and other.id == link.target), None)
    if link is None or target is None or target.type not in classes:
        return None
    socket = target.socket_of(link.id)
    spec = next((spec for spec in classes[target.type].declared if socket and spec.name == socket.name), None)
    if spec is None or not has_widget_type(spec.type):
        return None
    options = {**spec.options, "forceInput": False, "control_after_generate": True}
    return InputSpec("value", spec.type, options, spec.choices)


def _free_name(place: _Place, seen: dict[str, int]) -> str:
    label = place.input
    name = key = label
    if (place.node.type == PRIMITIVE and place.node.title) or name in seen:
        prefix = f"{place.node.title or place.node.type} "
        name = key = f"{prefix}{label}"
        if name in seen:
            name = f"{prefix}{seen[name]} {label}"
    seen[key] = seen.get(key, 1) + 1
    return name


def _give_values(host: Node, places: Mapping[str, _Place]) -> None:
    """The values of the node that stands for the group, to the widgets inside."""
    values = host.values if isinstance(host.values, list) else []
    place_in_values = 0
    for place in places.values():
        if place.spec is None:
            continue
        kept = [widget for widget in make_widgets(place.spec, place.node.type, set()) if widget.is_kept]
        if kept and place_in_values < len(values):
            value = values[place_in_values]
            if place.node.type == PRIMITIVE:
                rest = place.node.values[1:] if isinstance(place.node.values, list) else []
                place.node.values = [value, *rest]
            else:
                place.node.given = {**place.node.given, place.input: value}
        place_in_values += len(kept)


def _add_input(net: Net, name: str, place: _Place) -> None:
    link = _add_link(net, NET_INPUT, len(net.inputs), place.node.id, 0)
    net.inputs.append(Port(name, place.type, [link.id]))
    own = "" if place.node.type == REROUTE else place.input
    socket = _socket(place.node, own) if own else place.node.sockets[0]
    socket.link = link.id


def _add_outputs(net: Net, group: Mapping[str, Any], classes: Mapping[str, NodeClass]) -> None:
    """Those that no link within takes, and those that are said to be shown."""
    external = group.get("external")
    shown = {(entry[0], entry[1]) for entry in external if _is_pair(entry)} if isinstance(external, list) else set()
    config = group.get("config")
    for place, node in enumerate(net.nodes):
        taken = {link.origin_slot for link in net.links.values() if link.origin == node.id}
        class_ = classes.get(node.type)
        types = class_.outputs if class_ is not None else tuple(output.type for output in node.outputs)
        if class_ is None and (node.type != REROUTE or (taken and node.sockets and node.sockets[0].link is not None)):
            types = types if node.type == PRIMITIVE else ()
        for slot, type_ in enumerate(types):
            is_shown = _is_shown(config, place, slot)
            if is_shown if is_shown is not None else (slot not in taken or (place, slot) in shown):
                link = _add_link(net, node.id, slot, NET_OUTPUT, len(net.outputs))
                net.outputs.append(Port(f"{node.id}.{slot}", type_, [link.id]))


def _is_shown(config: Any, place: int, slot: int) -> bool | None:
    for key in (str(place), "output", str(slot), "visible"):
        config = config.get(key) if isinstance(config, Mapping) else None
    return config if isinstance(config, bool) else None


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) >= 2 and all(isinstance(part, int) for part in value[:2])


def _add_link(net: Net, origin: str, origin_slot: int, target: str, target_slot: int) -> Link:
    link = Link(len(net.links) + 1, origin, origin_slot, target, target_slot)
    net.links[link.id] = link
    return link


def _socket(node: Node, name: str) -> Socket:
    socket = next((socket for socket in node.sockets if socket.name == name), None)
    if socket is None:
        socket = Socket(name)
        node.sockets.append(socket)
    return socket


def _nodes(group: Any) -> list[Mapping[str, Any]]:
    nodes = group.get("nodes") if isinstance(group, Mapping) else None
    return [node for node in nodes if isinstance(node, Mapping)] if isinstance(nodes, list) else []
