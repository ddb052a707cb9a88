"""A prompt as it comes in: the API format, `{node id: {"class_type": …, "inputs": {…}}}`."""

from collections.abc import Mapping
from typing import Any

from services.comfyui import Prompt
from services.errors import InvalidRequest

MAX_NODES = 5_000
# ComfyUI is asked for each class by an address that holds its name.
MAX_CLASS_CHARACTERS = 200


def check_shape(value: Any) -> Prompt:
    """`value` as a prompt. Raises InvalidRequest."""
    if not isinstance(value, Mapping) or not value:
        raise InvalidRequest("a workflow in API format is an object of nodes, and not an empty one")
    if len(value) > MAX_NODES:
        raise InvalidRequest(f"a workflow of {len(value)} nodes; at most {MAX_NODES} are taken")
    for node_id, node in value.items():
        if not _is_node(node):
            raise InvalidRequest(f"node '{str(node_id)[:40]}': each node needs a 'class_type' and 'inputs'")
    return {str(node_id): dict(node) for node_id, node in value.items()}


def _is_node(value: Any) -> bool:
    if not isinstance(value, Mapping) or not isinstance(value.get("inputs"), Mapping):
        return False
    class_type = value.get("class_type")
    return isinstance(class_type, str) and 0 < len(class_type) <= MAX_CLASS_CHARACTERS
