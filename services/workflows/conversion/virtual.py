"""Nodes that only the editor knows: they carry links and values, and no server ever sees them."""

from collections.abc import Mapping
from typing import Any

from services.workflows.conversion.graph import Node

PRIMITIVE, REROUTE = "PrimitiveNode", "Reroute"
_NOTES = {"Note", "MarkdownNote"}
# Of widespread node packs, which bring them as scripts for the editor. A class of the same name that the server has
# comes first.
SETTERS, GETTERS = {"SetNode", "easy setNode"}, {"GetNode", "easy getNode"}
_REROUTES = {"Reroute (rgthree)"}
_DECORATIONS = {
    *("Bookmark (rgthree)", "Label (rgthree)", "Fast Muter (rgthree)", "Fast Bypasser (rgthree)"),
    *("Fast Groups Muter (rgthree)", "Fast Groups Bypasser (rgthree)", "Fast Actions Button (rgthree)"),
    *("Mute / Bypass Relay (rgthree)", "Mute / Bypass Repeater (rgthree)", "Random Unmuter (rgthree)"),
    *("Node Collector (rgthree)", "Note Plus (mtb)", "LabelNode", "workflowStart"),
}


def is_of_editor(type_: str) -> bool:
    """Of the editor itself: no class of the server can be called so."""
    return type_ in _OWN


def is_virtual(type_: str, classes: Mapping[str, Any]) -> bool:
    return is_of_editor(type_) or (type_ in _OF_PACKS and type_ not in classes)


def is_passing(type_: str, classes: Mapping[str, Any]) -> bool:
    """Output N is what comes in at input N."""
    return type_ == REROUTE or (type_ in _REROUTES | SETTERS and type_ not in classes)


def is_getter(type_: str, classes: Mapping[str, Any]) -> bool:
    return type_ in GETTERS and type_ not in classes


def variable(node: Node) -> str | None:
    """The name by which a getter finds its setter."""
    value = node.values[0] if isinstance(node.values, list) and node.values else None
    return value if isinstance(value, str) else None


_OWN = {PRIMITIVE, REROUTE, *_NOTES}
_OF_PACKS = _DECORATIONS | SETTERS | GETTERS | _REROUTES
