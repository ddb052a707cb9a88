"""From the editor's graph to the prompt that the server takes, by the rules of ComfyUI's own front end.

What does it is loaded with the first graph: a dashboard that converts none does without.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from services.comfyui import Prompt
from services.errors import InvalidRequest
from services.workflows.conversion.problem import Unconverted

__all__ = ["Conversion", "Unconverted", "classes_of", "convert", "first", "with_choices"]


def first(_count: int) -> int:
    """The choice that makes a conversion the same each time."""
    return 0


class Conversion(Struct, frozen=True):
    """`problems`: what cannot be converted; the prompt has the rest. `texts`: (node, input) of each text in which the
    editor chooses, see `with_choices`."""

    prompt: Prompt
    problems: tuple[Unconverted, ...]
    texts: tuple[tuple[str, str], ...] = ()


def classes_of(graph: Mapping[str, Any]) -> frozenset[str]:
    """The node classes whose definitions `convert` needs, also those within subgraphs. Raises InvalidRequest."""
    from services.workflows.conversion import loading

    return loading.classes_of(graph)


def convert(
    graph: Mapping[str, Any],
    definitions: Mapping[str, Mapping[str, Any]],
    *,
    choose: Callable[[int], int] | None = first,
    now: datetime | None = None,
) -> Conversion:
    """`definitions`: class to its `/object_info` entry; nodes of other classes are emitted with their links only.

    `choose`: of N choices in a prompt (`{a|b}`), the one to take, 0 to N - 1; None leaves the texts as they are
    written. `now`: for dates in file names.
    Raises InvalidRequest for what is no graph, or too much of one. Some milliseconds; seconds for what is hostile.
    """
    from services.workflows.conversion.loading import load
    from services.workflows.conversion.writer import Writer

    try:
        loaded, classes = load(graph, definitions)
        return Conversion(*Writer(loaded, classes, choose, now or datetime.now()).write())
    except RecursionError:
        raise InvalidRequest("the values of the workflow's nodes are nested too deep") from None


def with_choices(prompt: Prompt, texts: Iterable[tuple[str, str]], choose: Callable[[int], int]) -> Prompt:
    """`prompt`, whose texts were left as they are written, with one of the choices of each of `texts`."""
    from services.workflows.conversion.texts import MAX_CHOSEN_CHARACTERS, chosen

    changed, room = dict(prompt), MAX_CHOSEN_CHARACTERS
    for node_id, name in texts:
        node = changed[node_id]
        text = node["inputs"].get(name)
        if not isinstance(text, str) or (room := room - len(text)) < 0:
            continue
        if (taken := chosen(text, choose)) != text:
            changed[node_id] = {**node, "inputs": {**node["inputs"], name: taken}}
    return changed
