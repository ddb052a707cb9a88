"""Presets: a named set of model files, and the workflow that uses them."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from services.artifacts import Artifact, Size
from services.errors import InvalidName, InvalidRequest
from services.model_folders import LEGACY_FOLDERS
from services.workspace import check_model_name, check_name

Kind = Literal["image", "video", "audio", "3d", "text", "upscale"]
Origin = Literal["official", "curated", "user"]
# A file name on every volume. Not `$` alone: Python lets a line's end stand behind it.
PresetId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]{0,98}[A-Za-z0-9_-])?(?!\n)$")]

# The way to a value inside another: `("files", 0, "url")`.
Where = tuple[str | int, ...]

# What an address may be written with (RFC 3986): `urlsplit` drops a line's end, and the request then fails on it.
_VISIBLE = re.compile(r"[!-~]+")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")
_FIELD = re.compile(r"Object (?:(contains unknown)|missing required) field `(.*)`", re.DOTALL)
_PATTERNS = {
    "id": "must be up to 100 letters, digits, '_', '-' and '.', and start with a letter or digit",
    "aliases": "must be up to 100 letters, digits, '_', '-' and '.', and start with a letter or digit",
    "sha256": "must be 64 hexadecimal digits in lower case",
}


class PresetEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """What a file of presets says of one. `workflow` is in API format; `aliases` are other ids it is found under."""

    id: PresetId
    name: str
    kind: Kind
    description: str
    files: Annotated[tuple[Artifact, ...], Meta(min_length=1)]
    tags: tuple[str, ...] = ()
    vram_bytes: Size | None = None
    licence: str | None = None
    source: str | None = None
    workflow: dict[str, Any] | None = None
    aliases: tuple[PresetId, ...] = ()


class Preset(PresetEntry, frozen=True):
    """A named set of model files, and the workflow that uses them; an official one's is in services/templates.py.

    What only ComfyUI's index of templates knows: `usage` (how often it is run, of no unit), `open_source` (None: not
    said), `min_comfyui_version`, `tutorial` (an address) and `estimated_bytes` (of all its files, to show while
    `size_bytes` is not known).
    """

    origin: Origin = "curated"
    usage: int | None = None
    open_source: bool | None = None
    min_comfyui_version: str | None = None
    tutorial: str | None = None
    estimated_bytes: int | None = None

    @property
    def size_bytes(self) -> int | None:
        sizes = [file.size_bytes for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size)


class Problem(Struct, frozen=True):
    """A preset, or a file of presets, that could not be read."""

    source: str
    message: str


class InvalidPreset(InvalidRequest):
    """`where`: the way from the preset to the value that does not fit."""

    type = "invalid_preset"

    def __init__(self, message: str, where: Where = ()) -> None:
        super().__init__(message)
        self.where = where


def parse_preset(entry: Any, origin: Origin = "curated") -> Preset:
    """A preset from plain values. Raises InvalidPreset, naming the field."""
    try:
        preset = Preset(**msgspec.structs.asdict(msgspec.convert(entry, PresetEntry)), origin=origin)
        for number, file in enumerate(preset.files):
            try:
                check_file(file)
            except InvalidPreset as error:
                raise InvalidPreset(error.message, ("files", number, *error.where)) from None
        if len({file.id for file in preset.files}) < len(preset.files):
            raise InvalidPreset("two of them have the same folder and name", ("files",))
    except msgspec.ValidationError as error:
        where, reason = _explained(str(error))
        raise InvalidPreset(_sentence(entry, where, reason), where) from None
    except InvalidPreset as error:
        raise InvalidPreset(_sentence(entry, error.where, error.message), error.where) from None
    return preset


def check_file(file: Artifact) -> None:
    """Raises InvalidPreset when `file` could lie anywhere but in a folder of models, or cannot be fetched."""
    try:
        check_name(file.folder)
    except InvalidName as error:
        raise InvalidPreset(error.message, ("folder",)) from None
    if file.folder in LEGACY_FOLDERS:
        raise InvalidPreset(f"'{file.folder}' is called '{LEGACY_FOLDERS[file.folder]}' in ComfyUI today", ("folder",))
    try:
        check_model_name(file.folder, file.name)
    except InvalidName as error:
        raise InvalidPreset(error.message, ("name",)) from None
    _check_address(file.url, ("url",))
    for number, mirror in enumerate(file.mirrors):
        _check_address(mirror, ("mirrors", number))


def is_address(url: str) -> bool:
    """Whether `url` can be asked for over http or https."""
    try:
        parts = urlsplit(url)
        return bool(
            parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 and _VISIBLE.fullmatch(url)
        )
    except ValueError:
        # Half a bracket, or a port that is no number.
        return False


def _check_address(url: str, where: Where) -> None:
    """Raises InvalidPreset when no file can be fetched from `url`."""
    if not is_address(url):
        raise InvalidPreset(f"'{url[:200]}' is not an http address", where)
    parts = urlsplit(url)
    if "@" in parts.netloc:
        # Not to be repeated: it would stand in records that everyone reads.
        raise InvalidPreset(
            f"the address at {parts.hostname} has a user name or password in it: put the token into Settings", where
        )
    if "/blob/" in parts.path and parts.hostname == "huggingface.co":
        raise InvalidPreset(f"'{url[:200]}' is a web page; the file is at /resolve/ instead of /blob/", where)


def _explained(message: str) -> tuple[Where, str]:
    """Where it is and what is wrong, from msgspec's words: "Expected `int`, got `str` - at `$.files[0].size_bytes`"."""
    reason, found, place = message.rpartition(" - at `$")
    if not found:
        reason, place = message, ""
    where: Where = tuple(name or int(number) for name, number in _STEP.findall(place.removesuffix("`")))
    if field := _FIELD.fullmatch(reason):
        return (*where, field[2][:100]), "is not a field that a preset has" if field[1] else "is missing"
    if "matching regex" in reason:
        named = next((step for step in reversed(where) if isinstance(step, str)), "")
        reason = _PATTERNS.get(named, reason)
    return where, reason


def _sentence(entry: Any, where: Where, reason: str) -> str:
    field = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where).removeprefix(".")
    named = entry.get("id") if isinstance(entry, Mapping) else None
    parts = [f"preset '{str(named)[:100]}'" if named else "", field, reason]
    return ": ".join(part for part in parts if part)
