"""YAML in and out: the values that JSON has too, size-limited, without aliases, tags and directives."""

import io
from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scanner import Scanner, ScannerError

from services.errors import InvalidRequest

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 40
# Keys count too. The parser takes one to two seconds for as many.
MAX_VALUES = 50_000
# The parser quotes what it does not like, whatever its length.
_MESSAGE_MAX = 500


class InvalidYaml(InvalidRequest):
    type = "invalid_yaml"


class _PlainScanner(Scanner):
    """An alias costs nothing to write and everything to expand ("billion laughs"), a tag has a value read as what it is
    not, and a directive chooses another YAML. No file here needs them."""

    def fetch_alias(self) -> None:
        raise self._refused("aliases")

    def fetch_tag(self) -> None:
        raise self._refused("tags")

    def fetch_directive(self) -> None:
        raise self._refused("directives")

    def _refused(self, what: str) -> ScannerError:
        return ScannerError(None, None, f"{what} are not allowed", self.reader.get_mark())


class _BoundedComposer(Composer):
    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        # Nothing can point to an anchor: two of the same name do no harm.
        self.warn_double_anchors = False
        self._values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._values += 1
        problem = None
        if self._values > MAX_VALUES:
            problem = f"more than {MAX_VALUES} values"
        elif self.depth >= MAX_DEPTH:
            problem = f"nested deeper than {MAX_DEPTH}"
        if problem:
            raise ComposerError(None, None, problem, self.parser.peek_event().start_mark)
        return super().compose_node(parent, index)


def read(path: Path) -> Any:
    """The plain value in `path`. Raises InvalidYaml, naming file and line; OSError when it cannot be read."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InvalidYaml(f"{path}: larger than {MAX_BYTES} bytes")
    return parse(data, str(path))


def parse(data: bytes, source: str) -> Any:
    """The plain value of `data`; `source` is its name in errors. Raises InvalidYaml."""
    reader = YAML(typ="safe", pure=True)
    reader.Scanner = _PlainScanner
    reader.Composer = _BoundedComposer
    try:
        # By way of JSON, which has no dates, no keys but text and no halves of characters.
        return msgspec.json.decode(msgspec.json.encode(reader.load(data.decode("utf-8"))))
    except UnicodeDecodeError as error:
        raise InvalidYaml(f"{source}: not UTF-8 text ({error})") from None
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InvalidYaml(f"{source}{line}: {str(error.problem or error.context)[:_MESSAGE_MAX]}") from None
    except (YAMLError, ValueError, OverflowError, TypeError) as error:
        raise InvalidYaml(f"{source}: {str(error)[:_MESSAGE_MAX]}") from None


def dump(value: Any) -> bytes:
    """`value` as block-style YAML, in its own order."""
    stream = io.BytesIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.representer.sort_base_mapping_type_on_output = False
    writer.dump(value, stream)
    return stream.getvalue()
