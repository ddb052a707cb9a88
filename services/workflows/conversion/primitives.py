"""The editor's PrimitiveNode: a value that it writes into the widgets that it is linked to, in place of the links."""

import math
from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, Struct

from services.workflows.conversion.definitions import InputSpec, NodeClass
from services.workflows.conversion.graph import Net, Node, Socket, Widget
from services.workflows.conversion.nodes import set_value
from services.workflows.conversion.numbers import as_number, rounded
from services.workflows.conversion.subgraphs import reached
from services.workflows.conversion.virtual import PRIMITIVE
from services.workflows.conversion.widgets import has_widget_type

Classes = Mapping[str, NodeClass]

# What may differ between inputs that one value is for.
_IGNORED = {"default", "forceInput", "defaultInput", "control_after_generate", "multiline", "tooltip", "dynamicPrompts"}
_MAX_DEPTH = 100


class _Limits(Struct, frozen=True):
    """What the inputs that a number is for have in common."""

    minimum: float
    maximum: float
    step: float
    options: Mapping[str, Any]


def apply(net: Net, classes: Classes) -> None:
    """Writes the values of all primitives of `net` into the widgets at the other end of their links."""
    for node in net.nodes:
        if node.type == PRIMITIVE and (value := _value(node, net, classes)) is not UNSET:
            for other, socket in _targets(node, net):
                widget = other.widget_of(socket)
                if widget is not None:
                    set_value(other, widget, value)
                    _round(other, widget)


def _targets(node: Node, net: Net) -> list[tuple[Node, Socket]]:
    found = []
    for id_ in node.outputs[0].links if node.outputs else ():
        link = net.links.get(id_)
        other = net.by_id.get(link.target) if link is not None else None
        if link is not None and other is not None and 0 <= link.target_slot < len(other.sockets):
            found.append((other, other.sockets[link.target_slot]))
    return found


def _value(node: Node, net: Net, classes: Classes) -> Any:
    """UNSET for a primitive that has no widget, because nothing that it could be the value of is linked first."""
    links = node.outputs[0].links if node.outputs else []
    first = net.links.get(links[0]) if links else None
    targets = _targets(node, net)
    if first is None or not targets or targets[0][0].id != first.target:
        return UNSET
    other, socket = targets[0]
    spec = _spec(other, socket, classes)
    if spec is None:
        return UNSET
    theirs = other.widget_of(socket)
    value = theirs.value if theirs is not None else spec.options.get("default", UNSET)
    if isinstance(node.values, list) and node.values:
        value = node.values[0]
    if spec.type == "COMBO" and value is None and spec.choices:
        value = spec.choices[0]
    if spec.type in ("INT", "FLOAT"):
        value = _fitted(value, spec, targets, classes)
    return value


def _spec(node: Node, socket: Socket, classes: Classes, depth: int = 0) -> InputSpec | None:
    """What the class says of an input, through the subgraphs whose input it is."""
    if socket.widget is None and socket.promoted is None:
        return InputSpec(socket.name, socket.type, {}) if has_widget_type(socket.type) else None
    if node.inner is not None and depth < _MAX_DEPTH:
        place = node.sockets.index(socket)
        inner = next((inner for inner in reached(node.inner, node.inner.inputs[place]) if inner.widget), None)
        return _spec(inner.node, inner.socket, classes, depth + 1) if inner is not None else None
    class_ = classes.get(node.type)
    return next((spec for spec in class_.declared if spec.name == socket.widget), None) if class_ is not None else None


def _fitted(value: Any, spec: InputSpec, targets: list[tuple[Node, Socket]], classes: Classes) -> Any:
    """Within the limits that the inputs have in common, and rounded to their step."""
    common = _Limits(*_range(spec.options), _step(spec.options), spec.options)
    for other, socket in targets:
        theirs = _spec(other, socket, classes) if other.widget_of(socket) is not None else None
        merged = _merged(common, theirs.options) if theirs is not None and theirs.type == spec.type else None
        if merged is None:
            continue
        common = merged
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = max(common.minimum, min(common.maximum, value))
        value = _rounded_to(value, spec.type, common)
    return value


def _merged(one: _Limits, options: Mapping[str, Any]) -> _Limits | None:
    (low, high), step = _range(options), _step(options)
    if one.minimum > high or one.maximum < low:
        return None
    changed = {"min": max(one.minimum, low), "max": min(one.maximum, high), "step": _common_step(one.step, step)}
    ours, theirs = {**one.options, **changed}, {**options, **changed}
    for key in (ours.keys() | theirs.keys()) - _IGNORED:
        if not _is_same(ours.get(key), theirs.get(key)):
            return None
    return _Limits(changed["min"], changed["max"], changed["step"], {**ours, **theirs})


def _is_same(one: Any, other: Any) -> bool:
    return one is other or (not isinstance(one, list | dict) and not isinstance(other, list | dict) and one == other)


def _rounded_to(value: Any, type_: str, limits: _Limits) -> Any:
    if type_ == "INT":
        step = limits.step or 1
        offset = math.fmod(limits.minimum, step) if math.isfinite(limits.minimum) and step != 1 else 0
        return rounded(value, step, offset)
    decimals = max(0, -math.floor(math.log10(limits.step))) if limits.step > 0 else 0
    own = limits.options.get("round")
    to = as_number(own) if own or not decimals else 10.0**-decimals
    return _round_float(value, to, decimals, limits.minimum, limits.maximum) if to else value


def _round(node: Node, widget: Widget) -> None:
    """A number that is set from outside is rounded as if it were typed in."""
    if not widget.rounding or widget.limits is None or node.inner is not None:
        return
    minimum, maximum, step = widget.limits
    if widget.kind == "number":
        offset = math.fmod(minimum, step) if step not in (0, 1) else 0
        widget.value = rounded(widget.value, step or 1, offset)
    elif widget.kind == "float":
        decimals = max(0, -math.floor(math.log10(step))) if step > 0 else 0
        widget.value = _round_float(widget.value, widget.rounding, decimals, minimum, maximum)


def _round_float(value: Any, step: float, decimals: int, minimum: float, maximum: float) -> float:
    number = rounded(value, step)
    if not math.isfinite(number):
        return number
    return max(minimum, min(maximum, round(number, min(decimals, 100))))


def _range(options: Mapping[str, Any]) -> tuple[float, float]:
    low, high = options.get("min"), options.get("max")
    return (-math.inf if low is None else as_number(low), math.inf if high is None else as_number(high))


def _step(options: Mapping[str, Any]) -> float:
    step = options.get("step")
    return 1 if step is None else as_number(step)


def _common_step(one: float, other: float) -> float:
    """The least that is a multiple of both, within the accuracy of floating point."""
    larger, smaller = abs(one), abs(other)
    if not larger or not smaller or not math.isfinite(larger * smaller):
        return 0
    product = larger * smaller
    for _ in range(100):
        if smaller <= 1e-10:
            break
        larger, smaller = smaller, math.fmod(larger, smaller)
    return product / larger
