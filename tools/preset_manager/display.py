"""How far downloads are, while they are: bars in a terminal, a line for each change elsewhere."""

from collections.abc import Iterable
from types import TracebackType

from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from services.standing import FileStatus, InstallStatus
from tools.preset_manager import words
from tools.preset_manager.output import STYLES, Output

_WORDS = {
    "queued": "waits",
    "downloading": "comes in",
    "verifying": "is verified",
    "paused": "is paused",
    "failed": "failed",
    "cancelled": "was cancelled",
    "present": "is here",
}


class Display:
    """Shows the files of some presets, each once. Nothing of it goes to stdout with --json."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._bars = _bars(output) if output.console.is_terminal else None
        self._total: TaskID | None = None
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, tuple[str, str | None]] = {}

    def __enter__(self) -> "Display":
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def update(self, statuses: Iterable[InstallStatus]) -> None:
        files = {file.id: file for status in statuses for file in status.files}
        for file in files.values():
            self._say(file, is_first=not self._said)
        self._said = {id_: (file.state, file.error) for id_, file in files.items()}
        if self._bars is not None:
            self._draw(self._bars, list(files.values()))

    def _say(self, file: FileStatus, *, is_first: bool) -> None:
        """What changed, where it is worth a line."""
        before = self._said.get(file.id)
        if before == (file.state, file.error) or (is_first and file.state in {"present", "queued", "missing"}):
            return
        is_news = file.state in {"present", "failed", "cancelled", "paused"} or bool(file.error)
        if self._bars is not None and not is_news:
            return
        what = f"{file.folder}/{file.name} {_WORDS.get(file.state, file.state)}"
        size = f" ({words.size(file.bytes_total)})" if file.bytes_total and file.state != "failed" else ""
        self._output.tell(what + size + (f": {file.error}" if file.error else ""), STYLES.get(file.state, ""))

    def _draw(self, bars: Progress, files: list[FileStatus]) -> None:
        """A bar for each that moves, and below them one for all."""
        moving = {file.id: file for file in files if file.state in {"downloading", "verifying"}}
        for id_ in [known for known in self._tasks if known not in moving]:
            bars.remove_task(self._tasks.pop(id_))
        if self._total is not None:
            # So that it stays the last.
            bars.remove_task(self._total)
        for id_, file in moving.items():
            if id_ not in self._tasks:
                self._tasks[id_] = bars.add_task(file.name, total=file.bytes_total, amount="", rate="", left="")
            self._show(bars, self._tasks[id_], file)
        self._total = self._add_total(bars, files)

    def _show(self, bars: Progress, task: TaskID, file: FileStatus) -> None:
        left = None
        if file.bytes_total and file.bytes_per_second:
            left = (file.bytes_total - file.bytes_done) / file.bytes_per_second
        bars.update(
            task,
            completed=file.bytes_done,
            total=file.bytes_total,
            amount=_amount(file.bytes_done, file.bytes_total),
            rate="verifying" if file.state == "verifying" else words.speed(file.bytes_per_second),
            left=words.duration(left),
        )

    def _add_total(self, bars: Progress, files: list[FileStatus]) -> TaskID:
        here = sum(file.state == "present" for file in files)
        done = sum(file.bytes_done for file in files)
        sizes = [file.bytes_total for file in files]
        total = None if None in sizes else sum(size for size in sizes if size)
        rate = sum(file.bytes_per_second for file in files)
        return bars.add_task(
            f"{here} of {words.count(len(files), 'file')}",
            completed=done,
            total=total,
            amount=_amount(done, total),
            rate=words.speed(rate),
            left=words.duration((total - done) / rate if total is not None and rate else None),
        )


def _amount(done: int, total: int | None) -> str:
    return words.size(done) if total is None else f"{words.size(done)} of {words.size(total)}"


def _bars(output: Output) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=3)),
        BarColumn(None, table_column=Column(ratio=2)),
        _text("amount"),
        _text("rate"),
        _text("left"),
        console=output.console,
        expand=True,
        refresh_per_second=4,
    )


def _text(field: str) -> TextColumn:
    return TextColumn(f"{{task.fields[{field}]}}", markup=False, justify="right", table_column=Column(no_wrap=True))
