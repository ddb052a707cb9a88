"""`python -m tests.conversion`: every official template whose node classes ComfyUI has, by the editor and by us.

Prints the first difference of each that differs; exit status 1 when one is not explained.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from services.errors import InvalidRequest, SuiteError
from services.templates import Templates
from services.workflows.convert import classes_of
from services.workflows.document import Graph, read_document_file
from tests.conversion.comfyui import running_comfyui
from tests.conversion.judge import Judge, sitting
from tests.conversion.mutations import mutate
from tests.conversion.verdicts import Verdict, judged

NAMES = {
    "same": "same",
    "different": "different",
    "explained": "different for a reason that is known",
    "failed": "at which the editor itself fails",
    "not covered": "not covered (needs other node classes)",
}


class Case(Struct, frozen=True):
    name: str
    graph: Graph


def main() -> int:
    parser = argparse.ArgumentParser(prog="make conversion-check", description=__doc__)
    parser.add_argument("--templates", nargs="+", metavar="NAME", help="only these official templates")
    parser.add_argument(
        "--graphs",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="these workflows instead: JSON, or a file that carries one",
    )
    parser.add_argument("--limit", type=int, help="no more than this many of them")
    parser.add_argument("--mutations", type=int, default=0, metavar="N", help="and N graphs made of them by changes")
    parser.add_argument("--seed", type=int, default=1, help="of the changes")
    parser.add_argument("--comfyui", type=Path, metavar="DIR", help="another ComfyUI than COMFYUI_DIR")
    parser.add_argument("--verbose", action="store_true", help="every difference, and a line for each that is the same")
    options = parser.parse_args()
    try:
        cases = list(_files(options.graphs) if options.graphs else _templates(options.templates))[: options.limit]
    except (SuiteError, OSError) as error:
        parser.error(str(error))
    counts: Counter[str] = Counter()
    with running_comfyui(options.comfyui) as address, sitting(address) as judge:
        print(f"{len(cases)} graphs, {len(judge.definitions)} node classes, ComfyUI {judge.version}", flush=True)
        covered = [case for case in cases if _is_covered(case, judge)]
        counts["not covered"] = len(cases) - len(covered)
        for case in [*covered, *_mutated(covered, options.mutations, options.seed, judge)]:
            verdict = judged(judge, case.graph)
            counts[verdict.kind] += 1
            _print(case, verdict, options.verbose)
    kinds = ("same", "different", *(kind for kind in ("explained", "failed") if counts[kind]), "not covered")
    print(" / ".join(f"{counts[kind]} {NAMES[kind]}" for kind in kinds))
    # Where nothing could be compared, nothing is proven.
    return 1 if counts["different"] or not counts["same"] + counts["explained"] else 0


def _files(paths: list[Path]) -> Iterator[Case]:
    for path in paths:
        graph = read_document_file(path).graph
        if graph is None:
            raise InvalidRequest(f"{path} carries a prompt and no graph of the editor's: there is nothing to convert")
        yield Case(path.name, graph)


def _templates(names: list[str] | None) -> Iterator[Case]:
    templates = Templates()
    for name in names or [one.name for one in templates.summaries()]:
        yield Case(name, msgspec.json.decode(templates.graph(name)))


def _is_covered(case: Case, judge: Judge) -> bool:
    try:
        return classes_of(case.graph) <= judge.definitions.keys()
    except InvalidRequest:
        return True


def _mutated(cases: list[Case], count: int, seed: int, judge: Judge) -> Iterator[Case]:
    """All of them in turn, each time with another seed, by which a mutation can be made again."""
    for number in range(count if cases else 0):
        case = cases[number % len(cases)]
        yield Case(f"{case.name} (mutated by {seed + number})", mutate(case.graph, judge.definitions, seed + number))


def _print(case: Case, verdict: Verdict, verbose: bool) -> None:
    shown = verdict.lines if verbose else verdict.lines[:1]
    if shown and (verdict.kind in {"different", "failed"} or verbose):
        print(f"{verdict.kind:<10} {case.name}", *(f"             {line}" for line in shown), sep="\n", flush=True)
    elif verbose:
        print(f"{verdict.kind:<10} {case.name}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
