"""The graphs within a graph of the editor: its subgraphs and group nodes, and theirs."""

from collections.abc import Iterator, Mapping
from typing import Any

MAX_DEPTH = 12


def inner_graphs(graph: Mapping[str, Any], depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Each definition that is an object, also one that no node uses. Nothing deeper than MAX_DEPTH."""
    if depth >= MAX_DEPTH:
        return
    definitions, extra = graph.get("definitions"), graph.get("extra")
    subgraphs = definitions.get("subgraphs") if isinstance(definitions, Mapping) else None
    groups = extra.get("groupNodes") if isinstance(extra, Mapping) else None
    inner = [
        *(subgraphs if isinstance(subgraphs, list) else ()),
        *(groups.values() if isinstance(groups, Mapping) else ()),
    ]
    for found in inner:
        if isinstance(found, Mapping):
            yield found
            yield from inner_graphs(found, depth + 1)


def all_nodes(graph: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Those of `graph` first, then those of the graphs within it."""
    for found in (graph, *inner_graphs(graph)):
        yield from nodes_of(found)


def nodes_of(graph: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Those of `graph` itself."""
    nodes = graph.get("nodes")
    yield from (node for node in nodes if isinstance(node, Mapping)) if isinstance(nodes, list) else ()
