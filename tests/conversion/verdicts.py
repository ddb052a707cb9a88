"""What comes of one graph: the editor's prompt and ours, compared."""

from typing import Literal

from msgspec import Struct

from services.errors import InvalidRequest
from services.workflows.convert import convert
from services.workflows.document import Graph
from tests.conversion.comparison import differences, explanation_of
from tests.conversion.judge import Judge


class Verdict(Struct, frozen=True):
    """`lines`: the differences, or why there is nothing to compare."""

    kind: Literal["same", "different", "explained", "failed"]
    lines: tuple[str, ...] = ()


def judged(judge: Judge, graph: Graph) -> Verdict:
    exported = judge.export(graph)
    try:
        ours = convert(graph, judge.definitions).prompt
    except InvalidRequest as error:
        if exported.prompt:
            return Verdict("different", (f"ours refuses it: {error}",))
        ours = {}
    if exported.prompt is None:
        return Verdict("failed", (exported.error,))
    found = differences(exported.prompt, ours)
    if not found:
        return Verdict("same")
    reasons = [explanation_of(graph, one) for one in found]
    # Of most graphs only the first line is printed: what is not explained comes first.
    pairs = sorted(zip(found, reasons, strict=True), key=lambda pair: bool(pair[1]))
    lines = tuple(f"{one} ({reason})" if reason else str(one) for one, reason in pairs)
    return Verdict("explained" if all(reasons) else "different", lines)
