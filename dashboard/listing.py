"""The models of one shelf, searched, filtered and sorted: each question is answered once."""

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from dashboard.shelf import Shelf
from services import removals
from services.model_places import OURS
from services.models import ModelFile

Sort = Literal["folder", "name", "size", "modified", "last_used"]
Order = Literal["asc", "desc"]
Filter = Literal["all", "orphans", "duplicates", "unverified"]

# Answers kept: those of a few people who turn pages.
KEPT = 32


class ModelQuery(Struct, frozen=True):
    """`search`: words, each of which the folder or the name must hold, in any case of letters."""

    folder: str = ""
    search: str = ""
    sort: Sort = "folder"
    order: Order = "asc"
    filter: Filter = "all"


class SameFile(Struct, frozen=True):
    id: str
    folder: str
    name: str
    root: str


class Duplicates(Struct, frozen=True):
    """Files with the same bytes. `size_bytes`: of each. `wasted_bytes`: what becomes free when they are made one."""

    sha256: str
    size_bytes: int
    wasted_bytes: int
    models: tuple[SameFile, ...]


class Found(Struct, frozen=True):
    files: list[ModelFile]
    total_bytes: int


class Listing:
    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._sorted: list[ModelFile] | None = None
        self._found: dict[ModelQuery, Found] = {}
        self._duplicates: tuple[Duplicates, ...] | None = None

    def find(self, query: ModelQuery) -> Found:
        if (known := self._found.get(query)) is not None:
            return known
        files = [file for file in self._by_folder() if _fits(file, query.folder, query.search.lower().split())]
        files = list(filter(self._filter(query.filter), files))
        if (key := self._key(query.sort)) is not None:
            # Equal ones stay by folder and name, in both orders.
            files.sort(key=key, reverse=query.order == "desc")
        elif query.order == "desc":
            files.reverse()
        found = Found(files, sum(file.size_bytes for file in files))
        if len(self._found) >= KEPT:
            self._found.pop(next(iter(self._found)))
        self._found[query] = found
        return found

    def duplicates(self) -> tuple[Duplicates, ...]:
        """Of what was verified; what wastes most comes first."""
        if self._duplicates is None:
            same: dict[str, list[ModelFile]] = defaultdict(list)
            for id_, record in self.shelf.view.verified.items():
                if (file := self.shelf.models.get(id_)) is not None:
                    same[record.sha256].append(file)
            found = [_duplicates(sha256, files) for sha256, files in same.items() if len(files) > 1]
            wasteful = [group for group in found if group.wasted_bytes]
            self._duplicates = tuple(sorted(wasteful, key=lambda group: -group.wasted_bytes))
        return self._duplicates

    def _by_folder(self) -> list[ModelFile]:
        if self._sorted is None:
            # One text, no pair: ten thousand pairs would have the garbage collector look at everything.
            self._sorted = sorted(self.shelf.models.values(), key=lambda file: f"{file.folder}\0{file.name.lower()}")
        return self._sorted

    def _key(self, sort: Sort) -> Callable[[ModelFile], str | float] | None:
        """None for the order that they are in already."""
        keys: dict[Sort, Callable[[ModelFile], str | float]] = {
            "name": lambda file: file.name.rsplit("/", 1)[-1].lower(),
            "size": lambda file: file.size_bytes,
            "modified": lambda file: file.mtime_ns,
            # What no run ever used was used longest ago.
            "last_used": lambda file: self.shelf.last_used.get(file.id, 0.0),
        }
        return keys.get(sort)

    def _filter(self, name: Filter) -> Callable[[ModelFile], bool]:
        if name == "orphans":
            # Named by no preset and no workflow.
            left = removals.departed(self.shelf.catalogue, self.shelf.view)
            named = {*self.shelf.catalogue.artifact_ids, *(file.id for preset in left for file in preset.files)}
            return lambda file: file.id not in named and not self.shelf.references.of(file.folder, file.name)
        if name == "duplicates":
            ids = {file.id for group in self.duplicates() for file in group.models}
            return lambda file: file.id in ids
        if name == "unverified":
            return lambda file: file.id not in self.shelf.view.verified
        return lambda _file: True


def _duplicates(sha256: str, files: list[ModelFile]) -> Duplicates:
    size = files[0].size_bytes
    named = sorted(files, key=lambda file: (file.folder, file.name.lower()))
    models = tuple(SameFile(file.id, file.folder, file.name, file.root) for file in named)
    return Duplicates(sha256, size, _copies_too_many(files) * size, models)


def _copies_too_many(files: list[ModelFile]) -> int:
    """As `Placing.unite` leaves them: it keeps the oldest on each disk, and cannot free what has a name that it may not
    change."""
    disks: dict[int, list[ModelFile]] = defaultdict(list)
    for file in sorted(files, key=lambda file: file.mtime_ns):
        if file.root == OURS and not file.is_link:
            disks[file.device].append(file)
    names = Counter(
        (device, file.inode, file.links)
        for device, (kept, *others) in disks.items()
        for file in others
        if file.inode != kept.inode
    )
    return sum(count == links for (_, _, links), count in names.items())


def _fits(file: ModelFile, folder: str, words: list[str]) -> bool:
    if folder and file.folder != folder:
        return False
    if not words:
        return True
    text = f"{file.folder}/{file.name}".lower()
    return all(word in text for word in words)
