from typing import Any

from services.workflows.inner_graphs import MAX_DEPTH, all_nodes, inner_graphs


def holding(id_: str, *subgraphs: Any, groups: Any = None) -> dict[str, Any]:
    nodes = [{"id": id_}, "no node"]
    return {"nodes": nodes, "definitions": {"subgraphs": list(subgraphs)}, "extra": {"groupNodes": groups}}


def test_nodes_of_subgraphs_and_group_nodes_come_behind_the_outer_ones() -> None:
    graph = holding("outer", holding("first", holding("inner")), holding("second"), groups={"g": holding("group")})
    assert [node["id"] for node in all_nodes(graph)] == ["outer", "first", "inner", "second", "group"]


def test_what_is_no_graph_is_passed_over() -> None:
    assert list(all_nodes({"nodes": {}, "definitions": [], "extra": "x"})) == []
    assert list(inner_graphs(holding("outer", None, 3, groups=[holding("group")]))) == []


def test_it_ends_in_the_depth() -> None:
    graph = holding("0")
    for number in range(1, 2 * MAX_DEPTH):
        graph = holding(str(number), graph)
    assert len(list(inner_graphs(graph))) == MAX_DEPTH
