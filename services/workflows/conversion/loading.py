"""Loading a graph as the editor does: all that happens to it before anyone looks at it."""

from collections.abc import Mapping
from typing import Any

from services.workflows.conversion import group_nodes, node_ids, nodes, primitives, promotions, subgraphs
from services.workflows.conversion.definitions import NodeClass, node_class
from services.workflows.conversion.graph import Graph
from services.workflows.conversion.graph_file import read_graph
from services.workflows.conversion.group_nodes import group_name
from services.workflows.conversion.links import cut_misfits
from services.workflows.conversion.virtual import is_of_editor

Definitions = Mapping[str, Mapping[str, Any]]


def classes_of(graph: Mapping[str, Any]) -> frozenset[str]:
    """The node classes that only a server can tell of. Raises InvalidRequest."""
    read = read_graph(graph)
    types = _types(read)
    return frozenset(
        type_ for type_ in types if type_ not in read.nets and group_name(type_) is None and not is_of_editor(type_)
    )


def load(value: Mapping[str, Any], definitions: Definitions) -> tuple[Graph, dict[str, NodeClass]]:
    """The graph with every widget in its place, and the classes that it uses. Raises InvalidRequest."""
    graph = read_graph(value)
    classes = {
        type_: node_class(type_, definitions[type_])
        for type_ in _types(graph)
        if type_ in definitions and not is_of_editor(type_) and type_ not in graph.nets
    }
    node_ids.make_unique(graph)
    group_nodes.unpack(graph, classes)
    node_ids.index(graph)
    _build(graph, classes)
    return graph, classes


def _types(graph: Graph) -> set[str]:
    types = {node.type for net in (graph.root, *graph.nets.values()) for node in net.nodes}
    return types | group_nodes.classes_of(graph)


def _build(graph: Graph, classes: Mapping[str, NodeClass]) -> None:
    """In the editor's order: the nodes of each net, inner nets first; then, once all are there, what joins them."""
    nets = subgraphs.join(graph)
    for net in nets:
        for node in net.nodes:
            if node.inner is not None:
                subgraphs.configure_host(node, node.inner)
            elif node.type in classes:
                nodes.configure(node, classes[node.type])
        subgraphs.drop_doubled_links(net)
        for node in net.nodes:
            promotions.migrate(node)
    for net in nets:
        nodes.drop_sockets_without_widget(net)
        for node in net.nodes:
            node.fix_link_slots()
        cut_misfits(net)
        nodes.set_missing_choices(net)
    for net in reversed(nets):
        primitives.apply(net, classes)
