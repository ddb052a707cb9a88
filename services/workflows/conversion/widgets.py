"""The widgets that the editor makes of an input: their defaults, and which of them are kept and sent."""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import UNSET

from services.workflows.conversion.definitions import InputSpec, read_specs
from services.workflows.conversion.graph import Widget

DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
CONTROL = "control_after_generate"
_SEEDS = ("seed", "noise_seed")
_BOX = {"x": 0, "y": 0, "width": 512, "height": 512}
_BUTTONS = (("upload 3d model", "upload3dmodel"), ("upload extra resources", "uploadExtraResources"))
_VIEWPORTS = {
    *("Preview3DAdvanced", "Save3DAdvanced", "PreviewGaussianSplat", "PreviewPointCloud"),
    *("SaveGaussianSplat", "SavePointCloud"),
}


def is_widget(spec: InputSpec) -> bool:
    return spec.widget_type in _MAKERS and not spec.is_forced


def has_widget_type(type_: str) -> bool:
    """Of a socket that is no widget: whether a value of its type could be typed in."""
    return type_ in _MAKERS and type_ not in _OF_EXTENSIONS


def make_widgets(spec: InputSpec, class_type: str, names: set[str]) -> list[Widget]:
    """Those of one input, in the order of their values. `names`: the widgets that the node has so far."""
    kind = spec.widget_type
    if kind == "LOAD_3D":
        return _load_3d(class_type, names)
    return _MAKERS[kind](spec)


def _integer(spec: InputSpec) -> list[Widget]:
    step = _number(spec.options.get("step"), 1)
    limits = (_number(spec.options.get("min"), 0), _number(spec.options.get("max"), 2048), step)
    widget = Widget(spec.name, "number", _default(spec, 0), limits=limits, rounding=step or 1)
    control = spec.options.get(CONTROL)
    if control is None:
        control = spec.name in _SEEDS
    return [widget, *_controls(spec, control, "randomize")]


def _float(spec: InputSpec) -> list[Widget]:
    step = _number(spec.options.get("step"), 0.5)
    limits = (_number(spec.options.get("min"), 0), _number(spec.options.get("max"), 2048), step)
    own = spec.options.get("round")
    # Without one of its own, a number is rounded to as many decimals as its step has.
    decimals = max(0, -math.floor(math.log10(step))) if step > 0 else 0
    rounding = _number(own, 0) if own or not decimals else 10.0**-decimals
    widget = Widget(spec.name, "float", _default(spec, 0), limits=limits, rounding=rounding)
    return [widget, *_controls(spec, spec.options.get(CONTROL), "fixed")]


def _combo(spec: InputSpec) -> list[Widget]:
    choices = spec.choices if spec.choices is not None else []
    if spec.options.get("multi_select"):
        value: Any = []
        return [Widget(spec.name, "custom", value), *_controls(spec, spec.options.get(CONTROL), "fixed")]
    value = spec.options.get("default")
    if not value:
        value = choices[0] if choices else ("Loading..." if spec.options.get("remote") else UNSET)
    widgets = [Widget(spec.name, "combo", copy.deepcopy(value), choices)]
    if isinstance(remote := spec.options.get("remote"), Mapping):
        widgets.append(Widget("Auto-refresh after generation", "toggle", False, is_sent=False))
        if remote.get("refresh_button"):
            widgets.append(Widget("refresh", "button", "refresh"))
    if controls := _controls(spec, spec.options.get(CONTROL), "randomize"):
        widgets += [*controls, Widget("control_filter_list", "text", "", is_sent=False)]
    return widgets


def _controls(spec: InputSpec, control: Any, default: str) -> list[Widget]:
    """What becomes of a value after each run: kept with the workflow, of no meaning to the server."""
    if not control:
        return []
    is_named = isinstance(control, str)
    prefix = spec.options.get("control_prefix")
    name = control if is_named else (f"{prefix} {CONTROL}" if isinstance(prefix, str) and prefix else CONTROL)
    return [Widget(name, "combo", control if is_named else default, ["fixed"], is_sent=False)]


def _text(spec: InputSpec) -> list[Widget]:
    kind = "multiline" if spec.options.get("multiline") else "text"
    is_dynamic = spec.options.get("dynamicPrompts") is True
    return [Widget(spec.name, kind, _default(spec, ""), is_dynamic_text=is_dynamic)]


def _dynamic(spec: InputSpec) -> list[Widget]:
    options = spec.options.get("options")
    branches = {
        option["key"]: option.get("inputs")
        for option in (options if isinstance(options, list) else ())
        if isinstance(option, Mapping) and isinstance(option.get("key"), str)
    }
    return [Widget(spec.name, "combo", next(iter(branches), UNSET), list(branches), branches=branches)]


def branch(widget: Widget, value: Any) -> list[InputSpec]:
    """The inputs that a combo brings along when it is set to `value`."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value or "")
    inputs = (widget.branches or {}).get(value) if isinstance(value, str) and value else None
    return read_specs(inputs.get("required"), inputs.get("optional")) if isinstance(inputs, Mapping) else []


def _box(spec: InputSpec) -> list[Widget]:
    default = _default(spec, _BOX)
    parts = default if isinstance(default, Mapping) else _BOX
    return [
        Widget(spec.name, "custom", default),
        *(Widget(field, "number", parts.get(field, 0), is_sent=False) for field in _BOX),
    ]


def _video_edit(spec: InputSpec) -> list[Widget]:
    features = spec.options.get("features")
    features = features if isinstance(features, list) else ["trim", "crop"]
    value: dict[str, Any] = {}
    if "trim" in features:
        value["trim"] = {"start_time": 0, "duration": 0}
    if "crop" in features:
        value["crop"] = {"x": 0, "y": 0, "width": 0, "height": 0}
    return [Widget(spec.name, "custom", _default(spec, value))]


def _compositor(spec: InputSpec) -> list[Widget]:
    default = spec.options.get("default")
    return [Widget(spec.name, "custom", dict(default) if isinstance(default, Mapping) else {})]


def _load_3d(class_type: str, names: set[str]) -> list[Widget]:
    buttons = []
    if "model_file" in names:
        buttons = [Widget(name, "button", value) for name, value in (*_BUTTONS, ("clear", "clear"))]
    if class_type in _VIEWPORTS:
        return [*buttons, Widget("viewport_state", "viewport", "")]
    return [*buttons, Widget("image", "fixed", "")]


def _record(spec: InputSpec) -> list[Widget]:
    # Both take a place; what is recorded is in the browser only.
    return [Widget(spec.name, "fixed", ""), Widget(spec.name, "button", "", is_sent=False)]


def _of_default(default: Any, kind: str = "custom") -> Callable[[InputSpec], list[Widget]]:
    return lambda spec: [Widget(spec.name, kind, _default(spec, default))]


def _of_options(key: str, default: Any) -> Callable[[InputSpec], list[Widget]]:
    """Some widgets take their value from an object of options within the options."""

    def make(spec: InputSpec) -> list[Widget]:
        options = spec.options.get("options")
        value = options.get(key) if isinstance(options, Mapping) else None
        return [Widget(spec.name, "custom", copy.deepcopy(value or default))]

    return make


def _color(spec: InputSpec) -> list[Widget]:
    options = spec.options.get("options")
    inner = options.get("default") if isinstance(options, Mapping) else None
    return [Widget(spec.name, "custom", _default(spec, "#000000" if inner is None else inner))]


def _button(value: str) -> Callable[[InputSpec], list[Widget]]:
    return lambda spec: [Widget(spec.name, "button", value, is_sent=False)]


def _player(spec: InputSpec) -> list[Widget]:
    return [Widget(spec.name, "player", "", is_kept=False, is_sent=False)]


def _comparison(spec: InputSpec) -> list[Widget]:
    return [Widget(spec.name, "custom", ["", ""], is_kept=False)]


def _fixed(spec: InputSpec) -> list[Widget]:
    return [Widget(spec.name, "fixed", "")]


def _view(name: str, kind: str) -> Callable[[InputSpec], list[Widget]]:
    return lambda _spec: [Widget(name, kind, "")]


def _default(spec: InputSpec, otherwise: Any) -> Any:
    value = spec.options.get("default")
    return copy.deepcopy(otherwise if value is None else value)


def _number(value: Any, otherwise: float) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else otherwise


_OF_EXTENSIONS: dict[str, Callable[[InputSpec], list[Widget]]] = {
    "AUDIO_UI": _player,
    "AUDIOUPLOAD": _button(""),
    "AUDIO_RECORD": _record,
    "PREVIEW_3D": _view("image", "fixed"),
    "LOAD_3D_ADVANCED": _view("viewport_state", "viewport"),
    "LOAD_3D": _fixed,
    "WEBCAM": _fixed,
}
_MAKERS: dict[str, Callable[[InputSpec], list[Widget]]] = {
    **_OF_EXTENSIONS,
    "INT": _integer,
    "FLOAT": _float,
    "BOOLEAN": _of_default(False, "toggle"),
    "STRING": _text,
    "MARKDOWN": _of_default(""),
    "COMBO": _combo,
    "IMAGEUPLOAD": _button("image"),
    "COLOR": _color,
    "IMAGECOMPARE": _comparison,
    "BOUNDING_BOX": _box,
    "CHART": _of_options("data", {}),
    "GALLERIA": _of_options("images", []),
    "PAINTER": _of_default(""),
    "COMPOSITOR": _compositor,
    "TEXTAREA": _of_options("default", ""),
    "CURVE": _of_default({"points": [[0, 0], [1, 1]], "interpolation": "monotone_cubic"}, "curve"),
    "RANGE": _of_default({"min": 0.0, "max": 1.0}),
    "VIDEO_EDIT": _video_edit,
    "BOUNDING_BOXES": _of_default([]),
    "COLORS": _of_default([]),
    DYNAMIC: _dynamic,
}
