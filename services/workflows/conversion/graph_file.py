"""Reading the editor's graph from its JSON: schema 0.4, schema 1.0, and what lies between."""

from collections.abc import Mapping
from typing import Any, TypeGuard

from services.errors import InvalidRequest
from services.workflows.conversion.graph import ANY, MAX_SLOTS, Graph, Link, LinkId, Net, Node, Output, Port, Socket
from services.workflows.shape import MAX_CLASS_CHARACTERS, MAX_NODES

MAX_LINKS = 50_000
MAX_VALUES = 10_000
MAX_NETS = 1_000
MAX_ID_CHARACTERS = 200


def read_graph(value: Any) -> Graph:
    """Raises InvalidRequest, naming the node or link that cannot be read."""
    if not isinstance(value, Mapping) or not isinstance(value.get("nodes"), list):
        raise InvalidRequest("this is no workflow of ComfyUI's editor: it has no list of 'nodes'")
    root = _net(value, "", "the workflow")
    nets: dict[str, Net] = {}
    _read_subgraphs(value, nets, 0)
    count = len(root.nodes) + sum(len(net.nodes) for net in nets.values())
    if count > MAX_NODES:
        raise InvalidRequest(f"a workflow of {count} nodes; at most {MAX_NODES} are taken")
    count = len(root.links) + sum(len(net.links) for net in nets.values())
    if count > MAX_LINKS:
        raise InvalidRequest(f"a workflow of {count} links; at most {MAX_LINKS} are taken")
    extra = value.get("extra")
    groups = extra.get("groupNodes") if isinstance(extra, Mapping) else None
    reserved = {str(node["id"]) for node in value["nodes"] if _is_whole(node.get("id"))}
    return Graph(root, nets, dict(groups) if isinstance(groups, Mapping) else {}, _last_node_id(value), reserved)


def _read_subgraphs(value: Mapping[str, Any], nets: dict[str, Net], depth: int) -> None:
    definitions = value.get("definitions")
    subgraphs = definitions.get("subgraphs") if isinstance(definitions, Mapping) else None
    if not isinstance(subgraphs, list):
        return
    if depth > 50 or len(nets) + len(subgraphs) > MAX_NETS:
        raise InvalidRequest(f"the workflow defines more than {MAX_NETS} subgraphs, or too deep in one another")
    for definition in subgraphs:
        if not isinstance(definition, Mapping) or not isinstance(definition.get("id"), str):
            raise InvalidRequest("a subgraph of the workflow has no id")
        name = definition.get("name")
        nets[definition["id"]] = _net(definition, definition["id"], f"the subgraph '{_short(name)}'")
    for definition in subgraphs:
        _read_subgraphs(definition, nets, depth + 1)


def _net(value: Mapping[str, Any], id_: str, what: str) -> Net:
    nodes = [read_node(node, what) for node in _list(value.get("nodes"), f"the nodes of {what}", MAX_NODES)]
    read = (_link(link, what) for link in _list(value.get("links"), f"the links of {what}", MAX_LINKS))
    links = {link.id: link for link in read if link is not None}
    for node in nodes:
        node.links = links
    return Net(
        id_,
        _short(value.get("name")),
        nodes,
        links,
        _ports(value.get("inputs"), what) if id_ else [],
        _ports(value.get("outputs"), what) if id_ else [],
    )


def read_node(value: Any, what: str) -> Node:
    """Raises InvalidRequest."""
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"a node of {what} is no object")
    id_ = node_id(value.get("id"))
    if id_ is None:
        raise InvalidRequest(f"a node of {what} has no id: ids are numbers or short texts")
    type_ = value.get("type")
    if not isinstance(type_, str) or not 0 < len(type_) <= MAX_CLASS_CHARACTERS:
        raise InvalidRequest(f"node {id_} of {what} has no type: a text of at most {MAX_CLASS_CHARACTERS} characters")
    where = f"node {id_} of {what}"
    values, properties, title = value.get("widgets_values"), value.get("properties"), value.get("title")
    if isinstance(values, list | dict) and len(values) > MAX_VALUES:
        raise InvalidRequest(f"{where} holds more than {MAX_VALUES} values")
    return Node(
        id_,
        type_,
        title if isinstance(title, str) else "",
        mode if _is_whole(mode := value.get("mode")) else 0,
        [_socket(socket, where) for socket in _list(value.get("inputs"), f"the inputs of {where}", MAX_SLOTS)],
        [_output(output, where) for output in _list(value.get("outputs"), f"the outputs of {where}", MAX_SLOTS)],
        values if isinstance(values, list | dict) else None,
        properties if isinstance(properties, dict) else {},
    )


def _socket(value: Any, where: str) -> Socket:
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise InvalidRequest(f"an input of {where} has no name")
    widget = value.get("widget")
    name = widget.get("name") if isinstance(widget, Mapping) else None
    return Socket(
        value["name"],
        type_name(value.get("type")),
        link_id(value.get("link")),
        name if isinstance(name, str) else (value["name"] if isinstance(widget, Mapping) else None),
    )


def _output(value: Any, where: str) -> Output:
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"an output of {where} is no object")
    links = _list(value.get("links"), f"the links of an output of {where}", MAX_LINKS)
    return Output(type_name(value.get("type")), [id_ for link in links if (id_ := link_id(link)) is not None])


def _ports(value: Any, what: str) -> list[Port]:
    ports = []
    for port in _list(value, f"the inputs and outputs of {what}", MAX_SLOTS):
        if not isinstance(port, Mapping) or not isinstance(port.get("name"), str):
            raise InvalidRequest(f"an input or output of {what} has no name")
        links = _list(port.get("linkIds"), f"the links of an input or output of {what}", MAX_SLOTS)
        ids = list(dict.fromkeys(id_ for link in links if (id_ := link_id(link)) is not None))
        ports.append(Port(port["name"], type_name(port.get("type")), ids))
    return ports


def _link(value: Any, what: str) -> Link | None:
    """Both as an array (0.4) and as an object (1.0, and in subgraphs); None for the gaps that some files have."""
    if value is None:
        return None
    if isinstance(value, list) and len(value) >= 5:
        id_, *ends = value[:5]
    elif isinstance(value, Mapping):
        id_ = value.get("id")
        ends = [value.get(key) for key in ("origin_id", "origin_slot", "target_id", "target_slot")]
    else:
        raise InvalidRequest(f"a link of {what} is neither a list of five nor an object")
    known = link_id(id_)
    if known is None:
        raise InvalidRequest(f"a link of {what} has no id")
    return Link(known, node_id(ends[0]) or "", _slot(ends[1]), node_id(ends[2]) or "", _slot(ends[3]))


def link_ends(value: Any) -> tuple[int, int, int, int] | None:
    """Of a link within a group, between places in its list of nodes; None for one that leads out."""
    if not isinstance(value, list) or len(value) < 4:
        return None
    ends = tuple(_slot(end) for end in value[:4])
    return (ends[0], ends[1], ends[2], ends[3]) if all(end >= 0 for end in ends) else None


def node_id(value: Any) -> str | None:
    """As the editor writes ids into a prompt."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if _is_whole(value) or (isinstance(value, str) and 0 < len(value) <= MAX_ID_CHARACTERS):
        return str(value)
    return None


def link_id(value: Any) -> LinkId | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if _is_whole(value) or (isinstance(value, str) and 0 < len(value) <= MAX_ID_CHARACTERS):
        return value
    return None


def type_name(value: Any) -> str:
    """Types are texts; 0 and nothing stand for any, and some packs write lists of types."""
    if isinstance(value, list):
        return ",".join(part for part in value if isinstance(part, str))[:MAX_ID_CHARACTERS]
    if isinstance(value, str):
        return value[:MAX_ID_CHARACTERS]
    return str(value) if _is_whole(value) and value else ANY


def _slot(value: Any) -> int:
    """-1 for what no slot has."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 6:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if _is_whole(value) and 0 <= value < MAX_SLOTS else -1


def _list(value: Any, what: str, most: int) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidRequest(f"{what} are no list")
    if len(value) > most:
        raise InvalidRequest(f"{what} are {len(value)}; at most {most} are taken")
    return value


def _last_node_id(value: Mapping[str, Any]) -> int:
    state = value.get("state")
    last = value.get("last_node_id") if value.get("version") == 0.4 or not isinstance(state, Mapping) else None
    if last is None and isinstance(state, Mapping):
        last = state.get("lastNodeId")
    if isinstance(last, str) and last.isascii() and last.isdecimal() and len(last) < 10:
        last = int(last)
    if isinstance(last, float) and last.is_integer():
        last = int(last)
    return last if _is_whole(last) and 0 <= last < 100_000_000 else 0


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _short(value: Any) -> str:
    return value[:100] if isinstance(value, str) else ""
