"""A graph that keeps up with the values of its prompt: what was changed for a run stands in the picture as well."""

from collections.abc import Mapping
from typing import Any

import msgspec

from services.comfyui import Prompt
from services.errors import InvalidRequest
from services.workflows.convert import convert
from services.workflows.document import Graph
from services.workflows.remedies import Spot, spots_of_inputs
from services.workflows.seeds import is_link

# A conversion each, for all values together: a number may stand in many places.
TRIES_MAX = 48

_Place = tuple[str, str]


class GraphValues:
    """Blocking. `prompt` was made of `graph`, which stays as it is, with texts as they are written."""

    def __init__(self, graph: Graph, prompt: Prompt, definitions: Mapping[str, Mapping[str, Any]]) -> None:
        self._graph: Graph = msgspec.json.decode(msgspec.json.encode(graph))
        self._prompt = prompt
        self._definitions = definitions
        self._spots: dict[_Place, Spot | None] = {}
        self._tries = TRIES_MAX

    def graph_of(self, prompt: Prompt) -> Graph | None:
        """The graph with the values of `prompt`, until the next call; None where one of them has no place in it."""
        for place in self._spots.keys() | self._changed(prompt):
            node_id, name = place
            value = prompt[node_id]["inputs"][name]
            if place not in self._spots:
                self._spots[place] = self._find(place, value)
            if (spot := self._spots[place]) is None:
                return None
            spot.put(value)
        return self._graph

    def _changed(self, prompt: Prompt) -> set[_Place]:
        return {
            (node_id, name)
            for node_id, node in prompt.items()
            for name, value in node["inputs"].items()
            if not is_link(value) and value != self._prompt[node_id]["inputs"].get(name)
        }

    def _find(self, place: _Place, value: Any) -> Spot | None:
        """Where the value of `place` stands: what is written there changes it, and nothing else."""
        node_id, name = place
        old = self._prompt[node_id]["inputs"].get(name)
        if (before := self._converted()) is None or before.get(node_id, {}).get("inputs", {}).get(name) != old:
            return None
        before[node_id]["inputs"][name] = value
        for spot in spots_of_inputs(self._graph, [place], old)[place]:
            if self._tries <= 0:
                break
            self._tries -= 1
            spot.put(value)
            if self._converted() == before:
                return spot
            spot.put(old)
        return None

    def _converted(self) -> Prompt | None:
        try:
            return convert(self._graph, self._definitions, choose=None).prompt
        except InvalidRequest:
            return None
