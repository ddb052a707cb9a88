"""Changes to graphs that can be made again."""

import json

from tests.conversion.mutations import mutate
from tests.conversion.odd_graphs import ODD, text_to_image


def test_the_same_seed_makes_the_same_graph() -> None:
    graph = text_to_image().graph()
    assert mutate(graph, {}, 7) == mutate(graph, {}, 7)


def test_other_seeds_make_other_graphs_and_leave_the_first_alone() -> None:
    graph = text_to_image().graph()
    before = json.dumps(graph)
    made = {json.dumps(mutate(graph, {}, seed)) for seed in range(20)}
    assert len(made) > 10
    assert json.dumps(graph) == before


def test_every_odd_graph_can_be_changed_and_is_still_json() -> None:
    for make in ODD.values():
        for seed in range(20):
            json.dumps(mutate(make(), {}, seed))
