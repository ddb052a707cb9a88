"""What a host will not change its mind about, and what someone can do then."""

from collections.abc import Iterable

from services.sources.troubles import Trouble

# A host that is away, or answers with something strange, may have the file at the next try.
_REFUSALS = frozenset({"gated", "unauthorized", "missing", "early_access"})


def is_refusal(kind: object) -> bool:
    """Whether trying again without a licence, a token or another address is in vain."""
    return kind in _REFUSALS


def told(troubles: Iterable[tuple[str, Trouble]]) -> tuple[list[str], list[str]]:
    """(what is wrong, what to do) of files by name: files that share a trouble share its line, and each step is said
    once."""
    names: dict[str, list[str]] = {}
    steps: dict[str, None] = {}
    for name, trouble in troubles:
        names.setdefault(trouble.message, []).append(name)
        if trouble.page and trouble.kind in {"gated", "early_access"}:
            steps[f"open {trouble.page}"] = None
        if trouble.token:
            steps[f"set {trouble.token}, or save a token in the dashboard under Settings"] = None
    # A token is of use once all licences were accepted.
    ordered = sorted(steps, key=lambda step: step.startswith("set "))
    return [f"{_together(same)}: {message}" for message, same in names.items()], ordered


def _together(names: list[str]) -> str:
    names = list(dict.fromkeys(names))
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
