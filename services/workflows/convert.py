"""From the editor's graph to the prompt that the server takes, by the rules of ComfyUI's own front end.

What does it is loaded with the first graph: a dashboard that converts none does without.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from services.comfyui import Prompt
from services.errors import InvalidRequest
from services.workflows.conversion.problem import Unconverted

__all__ = ["Conversion", "Unconverted", "classes_of", "convert"]


class Conversion(Struct, frozen=True):
    """`problems`: what cannot be converted; the prompt has the rest."""

    prompt: Prompt
    problems: tuple[Unconverted, ...]


def classes_of(graph: Mapping[str, Any]) -> frozenset[str]:
    """The node classes whose definitions `convert` needs, also those within subgraphs. Raises InvalidRequest."""
    from services.workflows.conversion import loading

    return loading.classes_of(graph)


def convert(
    graph: Mapping[str, Any],
    definitions: Mapping[str, Mapping[str, Any]],
    *,
    choose: Callable[[int], int] = lambda _count: 0,
    now: datetime | None = None,
) -> Conversion:
    """`definitions`: class to its `/object_info` entry; nodes of other classes are emitted with their links only.

    `choose`: of N choices in a prompt (`{a|b}`), the one to take, 0 to N - 1. `now`: for dates in file names.
    Raises InvalidRequest for what is no graph, or too much of one. Some milliseconds; seconds for what is hostile.
    """
    from services.workflows.conversion.loading import load
    from services.workflows.conversion.writer import Writer

    try:
        loaded, classes = load(graph, definitions)
        return Conversion(*Writer(loaded, classes, choose, now or datetime.now()).write())
    except RecursionError:
        raise InvalidRequest("the values of the workflow's nodes are nested too deep") from None
