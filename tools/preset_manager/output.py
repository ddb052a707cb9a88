"""What is shown: text for people, or one JSON document on stdout; what went wrong always goes to stderr."""

import re
import sys
from collections.abc import Collection, Iterable
from typing import Any

import msgspec
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

# What is piped into another program is cut nowhere.
PIPE_COLUMNS = 1000
LEAST_COLUMNS = 10

# What a terminal obeys instead of showing it, what turns the direction of a line, and halves of characters.
_NOT_SHOWN = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

STYLES = {
    "installed": "green",
    "present": "green",
    "ok": "green",
    "downloading": "cyan",
    "verifying": "cyan",
    "queued": "cyan",
    "partial": "yellow",
    "paused": "yellow",
    "warning": "yellow",
    "elsewhere": "yellow",
    "occupied": "red",
    "failed": "red",
    "problem": "red",
    "cancelled": "yellow",
    "available": "dim",
    "missing": "dim",
    "note": "dim",
}


class Output:
    """`console`: for people. With --json that is stderr, so that stdout holds the document alone."""

    def __init__(self, *, as_json: bool) -> None:
        self.is_json = as_json
        self.console = _console(stderr=as_json)
        self._errors = _console(stderr=True)

    @property
    def is_terminal(self) -> bool:
        """Whether someone can be asked."""
        return self.console.is_terminal and sys.stdin.isatty()

    def say(self, text: str = "", style: str = "") -> None:
        """For people; nothing of it with --json."""
        if not self.is_json:
            self.console.print(Text(text, style), soft_wrap=not self.console.is_terminal)

    def command(self, text: str) -> None:
        """As `say`, for what someone may copy: the terminal breaks the line, and nothing is put into it."""
        if not self.is_json:
            self.console.print(Text(text), soft_wrap=True)

    def tell(self, text: str, style: str = "") -> None:
        """Also with --json, on stderr then: what happens while it happens."""
        self.console.print(Text(text, style), soft_wrap=not self.console.is_terminal)

    def show(self, table: Table) -> None:
        if not self.is_json:
            self.console.print(table)

    def complain(self, text: str, style: str = "red") -> None:
        self._errors.print(Text(text, style), soft_wrap=not self._errors.is_terminal)

    def document(self, value: Any) -> None:
        """The one document; nothing without --json."""
        if self.is_json:
            sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
            sys.stdout.flush()

    def confirm(self, question: str) -> bool:
        """Asks whoever sits there."""
        try:
            return self.console.input(Text(f"{question} [y/N] ")).strip().lower() in {"y", "yes"}
        except EOFError:
            return False


def table(*columns: str, gives_way: str, right: Collection[str] = ()) -> Table:
    """Plain columns. `gives_way`: the one that becomes narrower where the terminal is; what stands in it is made by
    `cut` or wraps."""
    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        made.add_column(
            name,
            justify="right" if name in right else "left",
            no_wrap=name != gives_way,
            min_width=LEAST_COLUMNS if name == gives_way else None,
        )
    return made


def cut(text: str, style: str = "") -> Text:
    """On one line, whatever of it fits."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def facts() -> Table:
    """A name and a value a line, for `add_row`."""
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    return made


def state(text: str, name: str) -> Text:
    """`text` in the colour of the state `name`."""
    return Text(text, STYLES.get(name, ""))


class _Console(Console):
    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Custom nodes choose the names of workflows, and anyone those of presets."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(_NOT_SHOWN.sub("", segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Rich would end the process as if something had failed."""
        raise BrokenPipeError


def _console(*, stderr: bool) -> Console:
    console = _Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = PIPE_COLUMNS
    return console
