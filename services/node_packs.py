"""Which pack of custom nodes brings a node class: what ComfyUI-Manager's own lists say, where it is installed.

`extension-node-map.json` is `{address: [[class, …], {"nodename_pattern": regex, …}]}`; `custom-node-list.json` has each
pack's title, id and addresses. Both have a few megabytes: they are read when someone asks, and only answers are kept.
"""

import os
import re
import stat
import threading
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from services import log

NODE_MAP = "extension-node-map.json"
PACK_LIST = "custom-node-list.json"
# Ten times what they have today. A folder of custom nodes is open to whatever runs there.
MAX_BYTES = 16 * 1024 * 1024
MAX_CLASS_CHARACTERS = 200
MAX_PATTERN_CHARACTERS = 120
# Each may be tried at every letter of a class's name.
MAX_REPETITIONS = 2
# Of classes that were asked for.
MAX_ANSWERS = 2_000

Shape = TypeVar("Shape")

_MANAGERS = ("ComfyUI-Manager", "comfyui-manager", "comfyui_manager")
# What is repeated as a whole may hold what is repeated: such patterns take for ever on the wrong name.
_REPEATED_GROUP = re.compile(r"\)[*+{?]|\\[1-9]|\(\?")
_log = log.get("node_packs")


class NodePack(Struct, frozen=True):
    """`id`: as ComfyUI-Manager and its registry call it; `url`: of its repository, None where it is not known."""

    id: str
    title: str
    url: str | None


class _Facts(Struct):
    title_aux: str = ""
    nodename_pattern: str | None = None


class _Mapped(Struct, array_like=True):
    classes: list[str] = []
    facts: _Facts = msgspec.field(default_factory=_Facts)


class _Listed(Struct):
    id: str = ""
    title: str = ""
    reference: str = ""
    files: list[str] = []


class _Listing(Struct):
    custom_nodes: list[Raw]


Stamp = tuple[str, int, int, int]


class NodePacks:
    """`folders` are where the lists may lie, the first with both of them counts. Blocking, for any thread."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = tuple(folders)
        self._looking = threading.Lock()
        self._stamps: tuple[Stamp, ...] = ()
        self._answers: dict[str, NodePack | None] = {}
        self._by_id: dict[str, NodePack | None] = {}

    def of(self, classes: Collection[str]) -> dict[str, NodePack]:
        """The pack of each of `classes` that the lists know."""
        wanted = {name for name in classes if len(name) <= MAX_CLASS_CHARACTERS}
        with self._looking:
            self._renew()
            if missing := wanted - self._answers.keys():
                found = self._look_up(missing)
                self._answers |= {name: found.get(name) for name in missing}
            return {name: pack for name in wanted if (pack := self._answers[name]) is not None}

    def called(self, ids: Collection[str]) -> dict[str, NodePack]:
        """The packs with these names in ComfyUI's registry, which are mostly those of their repositories."""
        with self._looking:
            self._renew()
            if missing := {_plain(id_) for id_ in ids} - self._by_id.keys():
                found: dict[str, NodePack | None] = dict.fromkeys(missing)
                for entry in self._listed():
                    for name in {_plain(entry.id), _plain(_last(entry.reference))} & missing:
                        found[name] = found[name] or _pack(entry)
                self._by_id |= found
            return {id_: replace(pack, id=id_) for id_ in ids if (pack := self._by_id[_plain(id_)]) is not None}

    def _renew(self) -> None:
        """Forgets what other lists said."""
        stamps = next((found for folder in self._folders if (found := _stamps(folder))), ())
        if stamps != self._stamps or len(self._answers) + len(self._by_id) > MAX_ANSWERS:
            self._stamps, self._answers, self._by_id = stamps, {}, {}

    def _look_up(self, classes: Collection[str]) -> dict[str, NodePack]:
        named: dict[str, list[str]] = {name: [] for name in classes}
        by_pattern: dict[str, list[str]] = {name: [] for name in classes}
        titles: dict[str, str] = {}
        for url, mapped in self._mapped():
            titles[url] = mapped.facts.title_aux
            for name in named.keys() & set(mapped.classes):
                named[name].append(url)
            if (pattern := _compiled(mapped.facts.nodename_pattern)) is not None:
                for name in classes:
                    if pattern.search(name):
                        by_pattern[name].append(url)
        urls = {url for found in (*named.values(), *by_pattern.values()) for url in found}
        known = self._known(urls)
        packs = {}
        for name in classes:
            if found := named[name] or by_pattern[name]:
                # Of forks and copies, the one that is listed first: lists grow at their end.
                url = min(found, key=lambda one: known[one][0] if one in known else MAX_BYTES)
                packs[name] = known[url][1] if url in known else NodePack(_last(url), titles[url] or _last(url), url)
        return packs

    def _known(self, urls: Collection[str]) -> dict[str, tuple[int, NodePack]]:
        """By address, where the list has it and what it says."""
        found: dict[str, tuple[int, NodePack]] = {}
        for place, entry in enumerate(self._listed()):
            for url in {entry.reference, *entry.files} & set(urls):
                found.setdefault(url, (place, _pack(entry)))
        return found

    def _mapped(self) -> Iterator[tuple[str, _Mapped]]:
        for url, entry in self._read(NODE_MAP, dict[str, Raw], {}).items():
            try:
                mapped = msgspec.json.decode(entry, type=_Mapped)
            except msgspec.MsgspecError:
                continue
            if _is_shown(url):
                yield url, mapped

    def _listed(self) -> Iterator[_Listed]:
        for entry in self._read(PACK_LIST, _Listing, _Listing([])).custom_nodes:
            try:
                yield msgspec.json.decode(entry, type=_Listed)
            except msgspec.MsgspecError:
                continue

    def _read(self, name: str, shape: type[Shape], nothing: Shape) -> Shape:
        if not self._stamps:
            return nothing
        path = Path(self._stamps[0][0]) / name
        try:
            return msgspec.json.decode(_data_of(path), type=shape)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            _log.warning("node_list_unreadable", path=str(path), reason=str(error))
            return nothing


def folders_of_manager(comfyui_dir: Path, comfyui_python: Path, custom_nodes: Path, checkout: Path) -> tuple[Path, ...]:
    """Where ComfyUI-Manager may be: a custom node of the volume or of the image, a package of ComfyUI's Python. Of a
    checkout, only its lists."""
    packages = sorted((comfyui_python.parent.parent / "lib").glob("python3*/site-packages/comfyui_manager"))
    nodes = [folder / name for folder in (custom_nodes, comfyui_dir / "custom_nodes") for name in _MANAGERS]
    return (*nodes, *packages, checkout / ".build" / "comfyui-manager-lists")


def _stamps(folder: Path) -> tuple[Stamp, ...]:
    found = []
    for name in (NODE_MAP, PACK_LIST):
        try:
            figures = (folder / name).stat()
        except OSError:
            return ()
        if not stat.S_ISREG(figures.st_mode):
            return ()
        found.append((str(folder), figures.st_ino, figures.st_mtime_ns, figures.st_size))
    return tuple(found)


def _data_of(path: Path) -> bytes:
    """Raises OSError, also for what is too large or no file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        # It may have become another since.
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{path} is no file")
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(f"{path} has more than {MAX_BYTES} bytes")
    return data


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    """None for what is no pattern, or could take for ever."""
    if not pattern or len(pattern) > MAX_PATTERN_CHARACTERS or _REPEATED_GROUP.search(pattern):
        return None
    if sum(map(pattern.count, "*+{?")) > MAX_REPETITIONS:
        return None
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return None


def _pack(entry: _Listed) -> NodePack:
    url = entry.reference or next(iter(entry.files), "")
    return NodePack(entry.id or _last(url), entry.title or _last(url), url if _is_shown(url) else None)


def _is_shown(url: str) -> bool:
    """It becomes a link on a page."""
    return url.startswith("https://") and url.isprintable() and len(url) < 500


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _last(url: str) -> str:
    return url.rstrip("/").rsplit("/", 1)[-1].removesuffix(".git")
