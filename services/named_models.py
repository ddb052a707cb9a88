"""The model files that a workflow names, in whichever form it was saved.

The editor's graph has them among its nodes' `widgets_values` and, where whoever made it said where they come from, in
`properties.models`; the API format has them among its nodes' inputs.
"""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import msgspec
from msgspec import Struct

from services.model_folders import LEGACY_FOLDERS, MODEL_SUFFIXES, folder_of_input

# A graph inside a graph inside a graph: deeper ones are somebody's joke.
MAX_DEPTH = 12
# The largest workflows have some ten thousand. 32 MiB of `[],[],` would be a gigabyte of memory, and hold up everything
# else in the process for seconds.
MAX_VALUES = 500_000


class NamedModel(Struct, frozen=True):
    """`folder` is None where the node that names it is not known; `name` is relative to the folder, with `/`."""

    folder: str | None
    name: str


def named_models(workflow: Any) -> frozenset[NamedModel]:
    """Of a graph or a prompt, as plain values; none of what is neither."""
    if not isinstance(workflow, Mapping):
        return frozenset()
    if isinstance(workflow.get("nodes"), list):
        return frozenset(_of_graph(workflow, 0))
    return frozenset(_of_prompt(workflow))


def read_named_models(data: bytes) -> frozenset[NamedModel]:
    """As `named_models`, of a file's bytes; none of what is no JSON, or holds more values than any workflow."""
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_VALUES:
        return frozenset()
    try:
        return named_models(msgspec.json.decode(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return frozenset()


def _of_prompt(prompt: Mapping[str, Any]) -> Iterator[NamedModel]:
    for node in prompt.values():
        if not isinstance(node, Mapping) or not isinstance(node.get("inputs"), Mapping):
            continue
        class_type = str(node.get("class_type", ""))
        for input_name, value in node["inputs"].items():
            if name := _model_name(value):
                yield NamedModel(folder_of_input(class_type, str(input_name)), name)


def _of_graph(graph: Mapping[str, Any], depth: int) -> Iterator[NamedModel]:
    for node in _items(graph.get("nodes")):
        yield from _of_node(node)
    if depth >= MAX_DEPTH:
        return
    definitions, extra = graph.get("definitions"), graph.get("extra")
    if isinstance(definitions, Mapping):
        for subgraph in _items(definitions.get("subgraphs")):
            yield from _of_graph(subgraph, depth + 1)
    groups = extra.get("groupNodes") if isinstance(extra, Mapping) else None
    for group in groups.values() if isinstance(groups, Mapping) else ():
        if isinstance(group, Mapping):
            yield from _of_graph(group, depth + 1)


def _of_node(node: Mapping[str, Any]) -> Iterator[NamedModel]:
    values = node.get("widgets_values")
    for value in values.values() if isinstance(values, Mapping) else values if isinstance(values, list) else ():
        if name := _model_name(value):
            yield NamedModel(None, name)
    properties = node.get("properties")
    for model in _items(properties.get("models") if isinstance(properties, Mapping) else None):
        folder, name = model.get("directory"), _model_name(model.get("name"))
        if isinstance(folder, str) and name:
            yield NamedModel(LEGACY_FOLDERS.get(folder, folder), name)


def _items(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, Mapping))


def _model_name(value: Any) -> str | None:
    """`value` as a file's name, if it looks like a model's. Workflows made on Windows have backslashes."""
    if not isinstance(value, str) or len(value) > 1000:
        return None
    name = value.replace("\\", "/")
    return name if PurePosixPath(name).suffix.lower() in MODEL_SUFFIXES else None
