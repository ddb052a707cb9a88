"""Node ids across a whole workflow: the editor gives those of subgraphs that are taken already new ones."""

from services.errors import InvalidRequest
from services.workflows.conversion.graph import Graph, Net, Node

_MAX_NODE_ID = 100_000_000


def make_unique(graph: Graph) -> None:
    """Goes through the subgraphs in file order; what points to a renamed node follows. Raises InvalidRequest."""
    used, last = set(graph.reserved), graph.last_node_id
    renamed: dict[str, dict[str, str]] = {}
    for net in graph.nets.values():
        names: dict[str, str] = {}
        for node in net.nodes:
            if node.id in used:
                last = _next(used, last)
                names[node.id] = str(last)
                node.id = str(last)
            elif _is_number(node.id):
                last = max(last, int(node.id))
            used.add(node.id)
        if names:
            renamed[net.id] = names
            _rename_in_links(net, names)
    for net in (*graph.nets.values(), graph.root):
        for node in net.nodes:
            if node.type in renamed:
                _rename_in_promotions(node, renamed[node.type])
    graph.last_node_id = last


def index(graph: Graph) -> None:
    """Ids are final now. Of two nodes of one id in a net, links mean the first."""
    for net in (*graph.nets.values(), graph.root):
        net.by_id = {node.id: node for node in reversed(net.nodes)}


def _rename_in_links(net: Net, names: dict[str, str]) -> None:
    for link in net.links.values():
        link.origin = names.get(link.origin, link.origin)
        link.target = names.get(link.target, link.target)


def _rename_in_promotions(node: Node, names: dict[str, str]) -> None:
    entries = node.properties.get("proxyWidgets")
    if not isinstance(entries, list):
        return
    changed = []
    for entry in entries:
        if isinstance(entry, list) and entry and isinstance(entry[0], str | int) and str(entry[0]) in names:
            entry = [names[str(entry[0])], *entry[1:]]
        changed.append(entry)
    node.properties = {**node.properties, "proxyWidgets": changed}


def _next(used: set[str], last: int) -> int:
    last += 1
    while str(last) in used:
        last += 1
    if last > _MAX_NODE_ID:
        raise InvalidRequest(f"the ids of the workflow's nodes go up to {_MAX_NODE_ID}: there is none left")
    return last


def _is_number(id_: str) -> bool:
    return id_.isascii() and id_.isdecimal() and len(id_) < 16 and str(int(id_)) == id_
