"""A workflow as it came: the editor's graph, API format, or both; from JSON, or from a file that carries one."""

import contextlib
import io
import itertools
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

from services import embedded
from services.comfyui import Prompt
from services.embedded import Embedded
from services.errors import InvalidRequest
from services.named_models import MAX_VALUES
from services.workflows.shape import MAX_NODES, check_shape

Graph = dict[str, Any]

MAX_JSON_BYTES = 32 * 1024 * 1024
# Twelve subgraphs in one another, and what a node holds.
MAX_NESTING = 100
# What Civitai adds to a prompt, beside its nodes.
_NO_NODES = {"extra", "extraMetadata"}
# Keys under which other programs describe how they made a picture.
_OF_OTHERS = {"parameters", "invokeai_metadata", "sd-metadata", "fooocus_scheme", "generation_data"}
# `{"input": {"workflow": "{…}"}}` is as wrapped as they come.
_MAX_WRAPPERS = 4
# Of the texts of a file that are JSON, so many are looked into; each may take a hundred megabytes while it is.
_MAX_TEXTS = 8


class Document(Struct, frozen=True):
    """One of both, or both: a picture carries the graph, and the prompt that was made of it and ran."""

    graph: Graph | None = None
    prompt: Prompt | None = None


def from_value(value: Any) -> Document:
    """Of JSON in either form, also within the body of a call to ComfyUI or the like. Raises InvalidRequest."""
    _check_extent(value)
    return _unwrapped(value, 0)


def read_document(data: bytes) -> Document:
    """Of JSON, or of a picture, a video or a sound that carries one. Raises InvalidRequest."""
    return read_document_from(io.BytesIO(data))


def read_document_file(path: Path) -> Document:
    """As `read_document`; of a large file, only the parts that can hold a workflow are read.

    Raises InvalidRequest, OSError.
    """
    # A pipe would be waited for until someone writes, and a device has no end.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidRequest(f"'{path.name}' is no file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return read_document_from(file)
    finally:
        os.close(descriptor)


def read_document_from(file: BinaryIO) -> Document:
    """As `read_document_file`, of a file that is open. Raises InvalidRequest, OSError."""
    if (found := embedded.read(file)) is not None:
        return _of_texts(found)
    file.seek(0)
    data = file.read(MAX_JSON_BYTES + 1)
    if not looks_like_json(data):
        raise InvalidRequest(
            "this is neither a workflow (JSON) nor a kind of picture, video or sound that can carry one: PNG, WebP, "
            "JPEG, AVIF, SVG, MP4, MOV, WebM, FLAC, Opus and MP3 can"
        )
    if len(data) > MAX_JSON_BYTES:
        raise InvalidRequest(f"a workflow of more than {MAX_JSON_BYTES // 1024**2} MiB; no editor saves such")
    return from_value(decode(data))


def looks_like_json(data: bytes) -> bool:
    """By its first letter: what a text editor on Windows adds before it does not count, nor do its zeros."""
    return data[:100].lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n")[:1] in {b"{", b"[", b'"'}


def plain_of(document: Document) -> dict[str, Any]:
    """As it is saved: the graph if there is one. Raises InvalidRequest for an empty one."""
    plain = document.graph if document.graph is not None else document.prompt
    if plain is None:
        raise InvalidRequest("there is no workflow in it")
    return plain


def node_count(document: Document) -> int:
    return len(document.graph["nodes"]) if document.graph is not None else len(document.prompt or ())


def _of_texts(found: Embedded) -> Document:
    """`workflow` and `prompt` before anything else that may hold one."""
    named = [found.texts[key] for key in ("workflow", "prompt") if key in found.texts]
    other = [text for key, text in found.texts.items() if key not in {"workflow", "prompt"}]
    for texts in (named, other):
        objects = itertools.islice((text for text in texts if _looks_like_object(text)), _MAX_TEXTS)
        # One after the other, so that no more than one at a time is in memory.
        values = (value for text in objects if (value := _object(text)) is not None)
        with contextlib.suppress(InvalidRequest):
            if (found_in := _first_of_each(values, 1)) != Document():
                return found_in
    raise InvalidRequest(f"this {found.kind} {_why_none(found, bool(named))}")


def _why_none(found: Embedded, is_named: bool) -> str:
    if found.problem:
        return f"carries no workflow that can be read, and is broken: {found.problem}"
    if is_named:
        return "says that it carries a workflow, and what is there is none"
    if any(key in _OF_OTHERS or "Sampler: " in text for key, text in found.texts.items()):
        return "was made by another program than ComfyUI: it carries that one's parameters, and no workflow"
    return (
        "carries no workflow: ComfyUI did not save it, was told to leave workflows out, or a site that re-compressed "
        "it removed it"
    )


def decode(data: bytes) -> Any:
    """JSON as ComfyUI writes it, which is Python's: NaN and the infinities become null. Raises InvalidRequest."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise InvalidRequest(f"the workflow holds more than {MAX_VALUES} values; no workflow does")
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = error
    try:
        # Once more through the strict one: half of a letter, and numbers that are none, do not get past it.
        loose = json.loads(data, parse_constant=lambda _name: None)
        return msgspec.json.decode(msgspec.json.encode(loose))
    except (ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        raise InvalidRequest(f"the workflow is not JSON: {reason}") from None


def _check_extent(value: Any) -> None:
    """Without recursion, which what is nested too deep would end."""
    level, count = [value], 0
    for _ in range(MAX_NESTING):
        count += len(level)
        if count > MAX_VALUES:
            raise InvalidRequest(f"the workflow holds more than {MAX_VALUES} values; no workflow does")
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return
    raise InvalidRequest(f"the workflow is nested more than {MAX_NESTING} deep; no workflow is")


def _inner(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _unwrapped(value: Any, depth: int) -> Document:
    if not isinstance(value, Mapping):
        raise InvalidRequest("a workflow is a JSON object, of the editor's or in API format")
    if isinstance(value.get("nodes"), list):
        return Document(graph=_check_graph(value))
    if depth < _MAX_WRAPPERS and (wrapped := _wrapped(value)):
        return _first_of_each(wrapped, depth + 1)
    nodes = {key: inner for key, inner in value.items() if key not in _NO_NODES or _is_node(inner)}
    return Document(prompt=check_shape(nodes))


def _wrapped(value: Mapping[str, Any]) -> list[Any]:
    """What a call to a server, or a program's own file, holds in the place of a workflow."""
    extra = value.get("extra_data")
    information = extra.get("extra_pnginfo") if isinstance(extra, Mapping) else None
    found = [value.get(key) for key in ("workflow", "prompt", "output", "input")]
    found.append(information.get("workflow") if isinstance(information, Mapping) else None)
    return [inner for part in found if (inner := _object(part)) is not None and not _is_node(inner)]


def _object(value: Any) -> Mapping[str, Any] | None:
    """`value`, which may be JSON within JSON, if it is an object with something in it."""
    if isinstance(value, str) and _looks_like_object(value):
        try:
            value = decode(value.encode())
            _check_extent(value)
        except (InvalidRequest, UnicodeEncodeError):
            return None
    return value if isinstance(value, Mapping) and value else None


def _looks_like_object(text: str) -> bool:
    return text.lstrip()[:1] == "{"


def _is_node(value: Any) -> bool:
    """Nodes have any name that a program gives them: `prompt` is one."""
    return isinstance(value, Mapping) and isinstance(value.get("class_type"), str)


def _first_of_each(values: Iterable[Any], depth: int) -> Document:
    """What is wrong with one does not matter where there is another."""
    graph, prompt, wrong = None, None, None
    for value in values:
        try:
            found = _unwrapped(value, depth)
        except InvalidRequest as error:
            wrong = wrong or error
            continue
        graph, prompt = graph or found.graph, prompt or found.prompt
    if graph is None and prompt is None and wrong is not None:
        raise wrong
    return Document(graph, prompt)


def _check_graph(value: Mapping[str, Any]) -> Graph:
    nodes = value["nodes"]
    if not nodes:
        raise InvalidRequest("the workflow is empty: it has no nodes")
    if not all(isinstance(node, Mapping) for node in nodes):
        raise InvalidRequest("a workflow's 'nodes' are objects")
    if any(isinstance(value.get(key), kind) for key, kind in (("edges", list), ("connections", Mapping))):
        raise InvalidRequest("this is a workflow of another program, not of ComfyUI")
    count = len(nodes) + sum(len(inner) for inner in _inner_nodes(value))
    if count > MAX_NODES:
        raise InvalidRequest(f"a workflow of {count} nodes; at most {MAX_NODES} are taken")
    return dict(value)


def _inner_nodes(graph: Mapping[str, Any]) -> Iterator[list[Any]]:
    """The nodes of each subgraph and each group node."""
    definitions, extra = graph.get("definitions"), graph.get("extra")
    inner = [definitions.get("subgraphs") if isinstance(definitions, Mapping) else None]
    inner.append(extra.get("groupNodes") if isinstance(extra, Mapping) else None)
    for found in (found for graphs in inner for found in _inner(graphs) if isinstance(found, Mapping)):
        if isinstance(found.get("nodes"), list):
            yield found["nodes"]
        yield from _inner_nodes(found)
