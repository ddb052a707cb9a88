"""What a check found: everything a workflow lacks, each with a verdict and what to do about it."""

from typing import Any, Literal

from msgspec import Struct

from services.node_packs import NodePack
from services.workflows.convert import Unconverted

Verdict = Literal["downloading", "preset", "url", "elsewhere", "unknown"]

# As many as ComfyUI lists itself.
CHOICES_MAX = 20
# Of a value, or a name, in a message.
SHOWN_MAX = 200


class Candidate(Struct, frozen=True):
    """A file that is there and may be the missing one. `use`: its name instead of the workflow's; `link`: it lies in
    another folder, and may be placed in this one. `size_bytes`: None where it is not known yet."""

    id: str
    folder: str
    name: str
    root: str
    size_bytes: int | None
    how: Literal["use", "link"]


class MissingModel(Struct, frozen=True):
    """A file that ComfyUI does not offer. `node_id` is the first that needs it, `needed_by` all of them.

    `downloading`: an install brings it. `elsewhere`: see `candidates`. `preset`: `presets` bring it. `url`: where to
    fetch it is known. `unknown`: it takes an address. `name` as the workflow has it.
    """

    node_id: str
    class_type: str
    title: str
    input: str
    folder: str | None
    name: str
    verdict: Verdict
    presets: tuple[str, ...]
    url: str | None
    size_bytes: int | None
    candidates: tuple[Candidate, ...]
    message: str
    needed_by: tuple[str, ...] = ()


class MissingNode(Struct, frozen=True):
    node_id: str
    class_type: str
    title: str
    pack: NodePack | None
    message: str


class WrongValue(Struct, frozen=True):
    """What ComfyUI refuses to run. `refused` False: it may take it, by its version or by what a custom node allows.

    `input` is empty where it is about the node or the whole workflow; `choices`: the nearest first.
    """

    node_id: str
    class_type: str
    title: str
    input: str
    value: Any
    choices: tuple[Any, ...]
    message: str
    refused: bool = True


class Report(Struct, frozen=True):
    """`can_run`: whether ComfyUI would take it. `installable`: how many of the missing models can be fetched;
    `fetch_bytes`: of those whose size is known, None where none is."""

    can_run: bool
    installable: int = 0
    fetch_bytes: int | None = 0
    missing_models: tuple[MissingModel, ...] = ()
    missing_nodes: tuple[MissingNode, ...] = ()
    wrong_values: tuple[WrongValue, ...] = ()
    unconverted: tuple[Unconverted, ...] = ()

    @property
    def summary(self) -> str:
        """One line for an error."""
        models = sorted({f"{model.folder or '?'}/{model.name}" for model in self.missing_models})
        nodes = sorted({node.class_type for node in self.missing_nodes})
        values = [wrong.message for wrong in self.wrong_values if wrong.refused]
        lost = [f"node {node.node_id} ({node.title}): {node.reason}" for node in self.unconverted]
        parts = [
            _named("missing models: ", models),
            _named("missing node classes: ", nodes),
            _named("", values, "; "),
            _named("not convertible: ", lost, "; "),
        ]
        return "; ".join(part for part in parts if part)


def shown(value: Any) -> str:
    """As a message has it."""
    text = value if isinstance(value, str) else repr(value)
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[: SHOWN_MAX + 1])
    return text if len(text) <= SHOWN_MAX else f"{text[: SHOWN_MAX - 1]}…"


def _named(what: str, names: list[str], between: str = ", ") -> str:
    if not names:
        return ""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return what + between.join(names[:5]) + more
