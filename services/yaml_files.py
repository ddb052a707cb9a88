"""YAML in and out: plain values only, size-limited, without aliases."""

import io
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from services.errors import InvalidRequest

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 40


class InvalidYaml(InvalidRequest):
    type = "invalid_yaml"


def read(path: Path) -> Any:
    """The plain value in `path`. Raises InvalidYaml, naming file and line; OSError when it cannot be read."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InvalidYaml(f"{path}: larger than {MAX_BYTES} bytes")
    return parse(data, str(path))


def parse(data: bytes, source: str) -> Any:
    """The plain value of `data`; `source` is its name in errors. Raises InvalidYaml."""
    try:
        text = data.decode("utf-8")
        _refuse_bombs(text, source)
        return YAML(typ="safe", pure=True).load(text)
    except UnicodeDecodeError as error:
        raise InvalidYaml(f"{source}: not UTF-8 text ({error})") from None
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InvalidYaml(f"{source}{line}: {error.problem or error.context}") from None
    except (YAMLError, RecursionError, ValueError) as error:
        raise InvalidYaml(f"{source}: {error or type(error).__name__}") from None


def _refuse_bombs(text: str, source: str) -> None:
    """An alias costs nothing to write and everything to expand ("billion laughs"), deep nesting costs the parser
    seconds; no file here needs either."""
    depth = 0
    for event in YAML(typ="safe", pure=True).parse(io.StringIO(text)):
        if isinstance(event, AliasEvent):
            raise InvalidYaml(f"{source}, line {event.start_mark.line + 1}: aliases are not allowed")
        if isinstance(event, CollectionStartEvent):
            depth += 1
        elif isinstance(event, CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise InvalidYaml(f"{source}, line {event.start_mark.line + 1}: nested deeper than {MAX_DEPTH}")


def dump(value: Any) -> bytes:
    """`value` as block-style YAML, in its own order."""
    stream = io.BytesIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.dump(value, stream)
    return stream.getvalue()
