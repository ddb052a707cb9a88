"""What a host will not change its mind about, and what someone can do then."""

from services.sources.troubles import Trouble

# A host that is away, or answers with something strange, may have the file at the next try.
_REFUSALS = frozenset({"gated", "unauthorized", "missing", "early_access"})


def is_refusal(kind: object) -> bool:
    """Whether trying again without a licence, a token or another address is in vain."""
    return kind in _REFUSALS


def remedy(trouble: Trouble) -> str:
    """What to do, in a line; empty where there is nothing that helps."""
    steps = []
    if trouble.page and trouble.kind in {"gated", "early_access"}:
        steps.append(f"open {trouble.page}")
    if trouble.token:
        steps.append(f"set {trouble.token}, or save a token in the dashboard under Settings")
    return "; ".join(steps)
