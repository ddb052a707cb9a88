"""YAML in and out: the values that JSON has too, size-limited, without aliases, tags and directives."""

import io
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode
from ruamel.yaml.scanner import Scanner, ScannerError

from services.errors import InvalidRequest

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 40
# Keys count too. The parser takes one to two seconds for as many.
MAX_VALUES = 50_000
# The parser quotes what it does not like, whatever its length.
_MESSAGE_MAX = 500


class InvalidYaml(InvalidRequest):
    """`line`, from 1, where it can be told; `reason`: what is wrong, without the file's name and the line."""

    type = "invalid_yaml"

    def __init__(self, source: str, reason: str, line: int | None = None) -> None:
        super().__init__(f"{source}, line {line}: {reason}" if line else f"{source}: {reason}")
        self.reason = reason
        self.line = line


class Document:
    """The plain value of a file, and where each part of it stands."""

    def __init__(self, value: Any, root: Node | None) -> None:
        self.value = value
        self._root = root

    def line_of(self, where: Sequence[str | int]) -> int:
        """The line, from 1, of the value that `where` leads to (`("files", 0, "url")`); of what is around it, where
        there is none."""
        node = self._root
        line: int = node.start_mark.line + 1 if node is not None else 1
        for step in where:
            found = _child(node, step)
            if found is None:
                break
            named_at, node = found
            line = named_at.start_mark.line + 1
        return line


def _child(node: Node | None, step: str | int) -> tuple[Node, Node] | None:
    """What stands for the step, a key or the value itself, and the value."""
    if isinstance(node, MappingNode):
        return next(((key, value) for key, value in node.value if key.value == step), None)
    if isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None


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
    return read_document(path).value


def read_document(path: Path) -> Document:
    """Raises InvalidYaml, naming file and line; OSError when it cannot be read."""
    figures = path.stat()
    # A pipe would be waited for until someone writes.
    if not stat.S_ISREG(figures.st_mode):
        raise InvalidYaml(str(path), "it is not a file")
    if figures.st_size > MAX_BYTES:
        raise InvalidYaml(str(path), f"larger than {MAX_BYTES} bytes")
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    # It may have grown since.
    if len(data) > MAX_BYTES:
        raise InvalidYaml(str(path), f"larger than {MAX_BYTES} bytes")
    return parse_document(data, str(path))


def parse(data: bytes, source: str) -> Any:
    """The plain value of `data`; `source` is its name in errors. Raises InvalidYaml."""
    return parse_document(data, source).value


def parse_document(data: bytes, source: str) -> Document:
    """`source` is its name in errors. Raises InvalidYaml."""
    reader = YAML(typ="safe", pure=True)
    reader.Scanner = _PlainScanner
    reader.Composer = _BoundedComposer
    try:
        constructor, parser = reader.get_constructor_parser(data.decode("utf-8"))
        try:
            root = constructor.composer.get_single_node()
            value = constructor.construct_document(root) if root is not None else None
        finally:
            parser.dispose()
        # By way of JSON, which has no dates, no keys but text and no halves of characters.
        return Document(msgspec.json.decode(msgspec.json.encode(value)), root)
    except UnicodeDecodeError as error:
        raise InvalidYaml(source, f"not UTF-8 text ({error})", data.count(b"\n", 0, error.start) + 1) from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise InvalidYaml(source, str(error.problem or error.context)[:_MESSAGE_MAX], line) from None
    except (YAMLError, ValueError, OverflowError, TypeError) as error:
        raise InvalidYaml(source, str(error)[:_MESSAGE_MAX]) from None


def dump(value: Any) -> bytes:
    """`value` as block-style YAML, in its own order."""
    stream = io.BytesIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.representer.sort_base_mapping_type_on_output = False
    writer.dump(value, stream)
    return stream.getvalue()
