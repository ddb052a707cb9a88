"""What the editor makes of texts when a workflow is queued: choices in prompts, and names and dates in file names."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from msgspec import UNSET

from services.workflows.conversion.graph import Node
from services.workflows.conversion.numbers import written

Choose = Callable[[int], int]

# Longer ones no one wrote by hand: they are sent as they are.
_MAX_CHARACTERS = 200_000
_MAX_NESTING = 20
# In all the texts of one workflow: those that come after are sent as they are.
MAX_CHOSEN_CHARACTERS = 500_000
# No file can have a longer name, and what stands for one may be all that a workflow holds, as often as it likes.
_MAX_NAME, _MAX_PREFIX, _MAX_REPLACED = 255, 4096, 50
_OPENING, _SIGN = re.compile(r"[\\{]"), re.compile(r"[\\{}|]")
_ESCAPED = re.compile(r"\\([{}|])")
_LINE_END = re.compile(r"[\n\r\u2028\u2029]")
_REPLACED = re.compile(r"%([^%]+)%")
_DATE_PARTS = re.compile(r"dd?|MM?|hh?|mm?|ss?|yyy?y?")
_NOT_IN_FILE_NAMES = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')

# Nodes whose `filename_prefix` may hold such names.
SAVING = {
    *("SaveImage", "SaveImageAdvanced", "SaveSVGNode", "SaveVideo", "SaveAnimatedWEBP", "SaveWEBM", "SaveAudio"),
    *("SaveAudioMP3", "SaveAudioOpus", "SaveAudioAdvanced", "SaveGLB", "Save3DAdvanced", "SaveGaussianSplat"),
    *("SavePointCloud", "SaveAnimatedPNG", "CLIPSave", "VAESave", "ModelSave", "LoraSave", "SaveLatent"),
}


def chosen(text: str, choose: Choose, nesting: int = 0) -> str:
    """`{a|b}` becomes one of its choices, comments go. `choose` of N gives a number from 0 up to below N."""
    if len(text) > _MAX_CHARACTERS:
        return text
    text = _without_comments(text)
    if nesting > _MAX_NESTING:
        return text
    parts, place = list[str](), 0
    while (opening := _next_of(text, place, _OPENING)) < len(text):
        parts.append(text[place:opening])
        choices, place = _choices(text, opening + 1)
        parts.append(chosen(choices[min(max(choose(len(choices)), 0), len(choices) - 1)], choose, nesting + 1))
    parts.append(text[place:])
    return _ESCAPED.sub(r"\1", "".join(parts))


def _choices(text: str, place: int) -> tuple[list[str], int]:
    """Those of a block that begins at `place`, and where it ends; one that is never closed ends with the text."""
    choices, start, depth = list[str](), place, 0
    while (found := _next_of(text, place, _SIGN)) < len(text):
        place = found + 1
        if text[found] == "{":
            depth += 1
        elif text[found] == "}":
            if not depth:
                return [*choices, text[start:found]], place
            depth -= 1
        elif not depth:
            choices.append(text[start:found])
            start = place
    return [*choices, text[start:]], len(text)


def _next_of(text: str, place: int, letters: re.Pattern[str]) -> int:
    """The place of the next of `letters` that no backslash stands before; the text's end if there is none."""
    while (match := letters.search(text, place)) is not None:
        if match.group() != "\\":
            return match.start()
        place = match.start() + 2
    return len(text)


def _without_comments(text: str) -> str:
    if "//" not in text and "/*" not in text:
        return text
    parts, place, is_closed = list[str](), 0, True
    while (slash := text.find("/", place)) >= 0:
        following = text[slash + 1 : slash + 2]
        if following == "/":
            match = _LINE_END.search(text, slash)
            parts.append(text[place:slash])
            place = match.start() if match is not None else len(text)
            continue
        end = text.find("*/", slash + 2) if following == "*" and is_closed else -1
        if following == "*" and end < 0:
            is_closed = False
        parts.append(text[place : slash if end >= 0 else slash + 1])
        place = end + 2 if end >= 0 else slash + 1
    return "".join([*parts, text[place:]])


def filled(text: str, named: Callable[[str], Node | None], now: datetime) -> str:
    """`%date:yyyy-MM-dd%` and `%Node.widget%` become what they name; what names nothing stays."""
    if len(text) > _MAX_PREFIX:
        return text

    def replacement(match: re.Match[str]) -> str:
        parts = match.group(1).split(".")
        if len(parts) != 2:
            return _date(match.group(1)[5:], now) if parts[0].startswith("date:") else match.group(0)
        node = named(parts[0])
        widget = node.widget(parts[1]) if node is not None else None
        return match.group(0) if widget is None else _NOT_IN_FILE_NAMES.sub("_", _as_text(widget.value)[:_MAX_NAME])

    return _REPLACED.sub(replacement, text, count=_MAX_REPLACED)


def _date(form: str, now: datetime) -> str:
    def part(match: re.Match[str]) -> str:
        found = match.group(0)
        if found == "yy":
            return f"{now.year}"[2:]
        if found == "yyyy":
            return f"{now.year}"
        values = {"d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}
        return f"{values[found[0]]}".rjust(len(found), "0") if found[0] in values else found

    return _DATE_PARTS.sub(part, form)


def _as_text(value: Any) -> str:
    if value is None or value is UNSET:
        return ""
    if isinstance(value, list):
        parts, room = list[str](), _MAX_NAME
        for inner in value:
            parts.append(_as_text(inner))
            if (room := room - len(parts[-1]) - 1) < 0:
                break
        return ",".join(parts)
    return "[object Object]" if isinstance(value, dict) else written(value)
