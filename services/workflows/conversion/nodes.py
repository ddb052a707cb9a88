"""A node of a known class: its sockets and widgets as the editor makes them, with the saved values in them.

Saved values have no names, only places: those of the widgets in order. A combo that brings inputs along puts their
widgets behind itself the moment it gets its value, so that the values which follow go to them.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, Struct

from services.workflows.conversion.definitions import InputSpec, NodeClass, read_specs
from services.workflows.conversion.graph import Net, Node, Output, Socket, Widget
from services.workflows.conversion.widgets import DYNAMIC, branch, is_widget, make_widgets

_GROWING, _MATCHING = "COMFY_AUTOGROW_V3", "COMFY_MATCHTYPE_V3"
_MAX_GROWN = 1_000
# Inputs that bring inputs that bring inputs…
_MAX_NESTING = 20
_SAMPLERS = ("KSampler", "KSamplerAdvanced")


class _Group(Struct, frozen=True):
    """A group of inputs that grows: input N is called by the N-th name, or by a prefix and N."""

    name: str
    specs: tuple[InputSpec, ...]
    names: tuple[str, ...] | None
    prefix: str
    least: int
    most: int

    def input_name(self, number: int, spec: InputSpec) -> str:
        if self.names is not None:
            return f"{self.name}.{self.names[number]}"
        return f"{self.name}.{self.prefix if len(self.specs) == 1 else spec.name}{number}"

    def number(self, input_name: str) -> int | None:
        own = input_name[len(self.name) + 1 :]
        if self.names is not None:
            return self.names.index(own) if own in self.names else None
        digits = own[len(own.rstrip("0123456789")) :]
        return int(digits) if digits and len(digits) < 6 and digits.isascii() else None


def configure(node: Node, class_: NodeClass) -> None:
    """Gives `node`, as it was saved, what its class has; its values and links stay."""
    saved, outputs, values = node.sockets, node.outputs, node.values
    node.sockets, node.widgets, node.growing, node.is_built = [], [], {}, True
    for spec in class_.inputs:
        _add_socket(node, spec, 0)
    for spec in class_.inputs:
        _add_widget(node, spec, 0)
    _add_own_widgets(node)
    _take_links(node, saved)
    node.outputs = [
        Output(
            class_.outputs[place] if place < len(class_.outputs) else outputs[place].type,
            outputs[place].links if place < len(outputs) else [],
        )
        for place in range(max(len(class_.outputs), len(outputs)))
    ]
    node.title = node.title or class_.title
    _grow(node)
    if isinstance(values, dict):
        _restore_named(node, values)
    else:
        _restore(node, _without_forced(node, class_, values or []))
    for name, value in node.given.items():
        if (widget := node.widget(name)) is not None:
            set_value(node, widget, value)


def set_value(node: Node, widget: Widget, value: Any) -> None:
    """As the editor does: some widgets do not take values, some change their node."""
    if widget.kind in ("fixed", "index", "viewport"):
        return
    if widget.kind == "multiline" and value is None:
        value = ""
    widget.value = value
    if widget.branches is not None:
        _set_branch(node, widget, value, is_new=False, nesting=0)
    elif widget.kind == "option":
        _set_option(node, widget, value)


def set_missing_choices(net: Net) -> None:
    """A combo that holds nothing shows its first choice."""
    for node in net.nodes:
        for widget in [*node.widgets, *(socket.promoted for socket in node.sockets if socket.promoted is not None)]:
            if node.type in _SAMPLERS and widget.name == "sampler_name" and isinstance(widget.value, str):
                # Names of long ago.
                widget.value = widget.value.removeprefix("sample_")
            if widget.kind == "combo" and widget.choices and (widget.value is None or widget.value is UNSET):
                set_value(node, widget, widget.choices[0])


def drop_sockets_without_widget(net: Net) -> None:
    """Inputs that were widgets when the workflow was saved, and are none of the class any more.

    The editor goes through a list that it takes from, and so passes over the one behind each.
    """
    for node in net.nodes:
        place = 0
        while node.is_built and node.inner is None and place < len(node.sockets):
            socket = node.sockets[place]
            if socket.widget is not None and node.widget(socket.widget) is None:
                del node.sockets[place]
            place += 1


def _add_socket(node: Node, spec: InputSpec, nesting: int) -> None:
    if is_widget(spec) or nesting > _MAX_NESTING:
        return
    if spec.type == _GROWING:
        _add_growing(node, spec, nesting + 1)
    elif spec.type == _MATCHING:
        _add_matching(node, spec, nesting + 1)
    else:
        node.sockets.append(Socket(spec.name, spec.type))


def _add_widget(node: Node, spec: InputSpec, nesting: int) -> None:
    if not is_widget(spec) or nesting > _MAX_NESTING:
        return
    widgets = make_widgets(spec, node.type, {widget.name for widget in node.widgets})
    node.widgets += widgets
    if spec.widget_type == DYNAMIC:
        _set_branch(node, widgets[0], widgets[0].value, is_new=True, nesting=nesting + 1)
    node.sockets.append(Socket(spec.name, spec.type, widget=spec.name))


def _add_input(node: Node, spec: InputSpec, nesting: int) -> None:
    _add_socket(node, spec, nesting)
    _add_widget(node, spec, nesting)


def _add_matching(node: Node, spec: InputSpec, nesting: int) -> None:
    """One of several inputs and outputs that take any one type together."""
    template = spec.options.get("template")
    allowed = template.get("allowed_types") if isinstance(template, Mapping) else None
    if isinstance(allowed, str):
        _add_input(node, InputSpec(spec.name, allowed, spec.options, None, spec.is_optional), nesting)


def _add_growing(node: Node, spec: InputSpec, nesting: int) -> None:
    template = spec.options.get("template")
    inputs = template.get("input") if isinstance(template, Mapping) else None
    if not isinstance(template, Mapping) or not isinstance(inputs, Mapping):
        return
    names = template.get("names")
    names = tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else None
    prefix, least, most = template.get("prefix"), template.get("min"), template.get("max")
    group = _Group(
        spec.name,
        tuple(read_specs(inputs.get("required"), inputs.get("optional"))),
        names,
        prefix if isinstance(prefix, str) else "",
        min(least, _MAX_GROWN) if isinstance(least, int) else 1,
        len(names) if names is not None else min(most, _MAX_GROWN) if isinstance(most, int) else 100,
    )
    node.growing = {**node.growing, spec.name: group}
    for number in range(max(1, group.least + 1)):
        _add_grown(node, group, number, nesting)


def _add_grown(node: Node, group: _Group, number: int, nesting: int) -> None:
    """Input `number` of a group, behind the one before it; what is there already by this name keeps its link."""
    if number >= group.most or not group.specs:
        return
    if len(group.specs) == 1 and not is_widget(group.specs[0]) and _is_in_place(node, group, number):
        return
    added = []
    for spec in group.specs:
        named = InputSpec(group.input_name(number, spec), spec.type, spec.options, spec.choices, spec.is_optional)
        count = len(node.sockets)
        _add_input(node, named, nesting)
        added += node.sockets[count:]
        del node.sockets[count:]
    for socket in added:
        same = [other for other in node.sockets if other.name == socket.name]
        for other in same:
            socket.link = other.link if socket.link is None else socket.link
        node.sockets = [other for other in node.sockets if other.name != socket.name]
    place = len(node.sockets)
    if number:
        before = group.input_name(number - 1, group.specs[-1])
        behind = [place for place, socket in enumerate(node.sockets) if socket.name.startswith(before)]
        place = behind[-1] + 1 if behind else place
    node.sockets[place:place] = added
    node.fix_link_slots(place)


def _is_in_place(node: Node, group: _Group, number: int) -> bool:
    name, before = (group.input_name(place, group.specs[0]) for place in (number, max(number - 1, 0)))
    places = [place for place, socket in enumerate(node.sockets) if socket.name == name]
    return len(places) == 1 and places[0] > 0 and node.sockets[places[0] - 1].name == before


def _grow(node: Node) -> None:
    """Each input of a group that is saved makes room for one more."""
    for socket in list(node.sockets) if node.growing else ():
        if socket.name.rpartition(".")[0] not in node.growing:
            continue
        if socket.widget is not None and node.widget(socket.widget) is None:
            # Keeps it from being taken for a widget that is no more.
            node.widgets.append(Widget(socket.widget, "placeholder", UNSET, is_kept=False))
        _grow_behind(node, socket)


def _grow_behind(node: Node, socket: Socket) -> None:
    group = node.growing.get(socket.name.rpartition(".")[0])
    number = group.number(socket.name) if group is not None else None
    if group is not None and number is not None and socket.link is not None:
        _add_grown(node, group, number + 1, 0)


def _set_branch(node: Node, widget: Widget, value: Any, *, is_new: bool, nesting: int) -> None:
    """Puts the inputs that `value` brings behind the combo, in the place of those of its last value."""
    prefix = f"{widget.name}."
    links = {socket.name: socket.link for socket in node.sockets if socket.name.startswith(prefix)}
    node.sockets = [socket for socket in node.sockets if not socket.name.startswith(prefix)]
    node.widgets = [other for other in node.widgets if not other.name.startswith(prefix)]
    widgets_before, sockets_before = len(node.widgets), len(node.sockets)
    for spec in branch(widget, value):
        named = InputSpec(f"{prefix}{spec.name}", spec.type, spec.options, spec.choices, spec.is_optional)
        _add_input(node, named, nesting)
    widgets, sockets = node.widgets[widgets_before:], node.sockets[sockets_before:]
    del node.widgets[widgets_before:], node.sockets[sockets_before:]
    if not is_new:
        for added in widgets:
            # The editor marks texts as dynamic once, when it makes the node.
            added.is_dynamic_text = False
    place = node.widgets.index(widget) + 1
    node.widgets[place:place] = widgets
    own = next((place for place, socket in enumerate(node.sockets) if socket.name == widget.name), None)
    place = len(node.sockets) if own is None else own + 1
    node.sockets[place:place] = sockets
    if own is None:
        return
    for name, link in links.items():
        socket = next((socket for socket in node.sockets if socket.name == name), None)
        if socket is not None and link is not None:
            socket.link = link
            _grow_behind(node, socket)
    node.fix_link_slots(place)


def _add_own_widgets(node: Node) -> None:
    if node.type == "CustomCombo" and node.widgets:
        node.widgets += [Widget("index", "index", -1), Widget("option1", "option", "")]
    if node.type == "WebcamCapture":
        node.widgets.append(Widget("waiting for camera...", "button", "capture", is_sent=False))


def _set_option(node: Node, widget: Widget, value: Any) -> None:
    """The choices of a CustomCombo: there is always an empty one at the end."""
    if node.widgets[-1] is widget:
        if value:
            node.widgets.append(Widget(f"option{len(node.widgets) - 1}", "option", ""))
    elif not value and node.widgets[-2] is widget and not node.widgets[-1].value:
        node.widgets.pop()


def _take_links(node: Node, saved: list[Socket]) -> None:
    """By name: the class has the last word on all but the links. What it does not know stays, and may be linked."""
    by_name = {socket.name: socket for socket in saved}
    known = {socket.name for socket in node.sockets}
    for socket in node.sockets:
        if socket.name in by_name:
            socket.link = by_name[socket.name].link
    node.sockets += [socket for socket in saved if socket.name not in known]


def _without_forced(node: Node, class_: NodeClass, values: list[Any]) -> list[Any]:
    """Before sockets and widgets lived side by side, an input that is always a socket had a place too."""
    names = {widget.name for widget in node.widgets}
    places = []
    for spec in class_.declared:
        if spec.name in names or spec.is_forced:
            places += [spec.is_forced, False] if spec.options.get("control_after_generate") else [spec.is_forced]
    if len(places) != len(values):
        return values
    return [value for value, is_forced in zip(values, places, strict=True) if not is_forced]


def _restore(node: Node, values: list[Any]) -> None:
    # Not a loop over the widgets: setting one may add others behind it.
    place, taken = 0, 0
    while place < len(node.widgets) and taken < len(values):
        widget = node.widgets[place]
        if widget.is_kept:
            set_value(node, widget, values[taken])
            taken += 1
        place += 1


def _restore_named(node: Node, values: dict[str, Any]) -> None:
    """Some packs save names with the values."""
    place = 0
    while place < len(node.widgets):
        widget = node.widgets[place]
        if widget.is_kept and widget.name in values:
            set_value(node, widget, values[widget.name])
        place += 1
