"""A node class as ComfyUI's `/object_info` describes it, and as the editor's own extensions change it."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

# Classes get these from the editor, not from the server: they take a place among the saved values, or none.
_WITH_PLAYER = {"LoadAudio", "SaveAudio", "PreviewAudio", "SaveAudioMP3", "SaveAudioOpus", "SaveAudioAdvanced"}
_UPLOADS = ("image_upload", "video_upload", "animated_image_upload")


class InputSpec(Struct, frozen=True):
    """One input. `type` is COMBO for all lists of choices, then in `choices`."""

    name: str
    type: str
    options: Mapping[str, Any]
    choices: list[Any] | None = None
    is_optional: bool = False

    @property
    def widget_type(self) -> str:
        named = self.options.get("widgetType")
        return named if isinstance(named, str) and named else self.type

    @property
    def is_forced(self) -> bool:
        """A socket, although the type has a widget."""
        return bool(self.options.get("forceInput")) or (self.is_optional and bool(self.options.get("defaultInput")))


class NodeClass(Struct, frozen=True):
    """`inputs` in the order of their widgets; `declared` in that of the class."""

    name: str
    title: str
    inputs: tuple[InputSpec, ...]
    declared: tuple[InputSpec, ...]
    outputs: tuple[str, ...]


def node_class(name: str, definition: Mapping[str, Any]) -> NodeClass:
    """Custom nodes leave parts out or set them to None: those are empty."""
    inputs = _mapping(definition.get("input"))
    required, optional = _extended(name, dict(_mapping(inputs.get("required")))), _mapping(inputs.get("optional"))
    declared = {spec.name: spec for spec in read_specs(required, optional)}
    outputs = definition.get("output")
    title = definition.get("display_name")
    return NodeClass(
        name,
        title if isinstance(title, str) and title else name,
        tuple(_ordered(declared, _mapping(definition.get("input_order")))),
        tuple(declared.values()),
        tuple(_output_type(output) for output in outputs) if isinstance(outputs, list | tuple) else (),
    )


def read_specs(required: Any, optional: Any) -> list[InputSpec]:
    specs = {}
    for part, is_optional in ((_mapping(required), False), (_mapping(optional), True)):
        for name, value in part.items():
            if (spec := read_spec(str(name), value, is_optional)) is not None:
                specs[spec.name] = spec
    return list(specs.values())


def read_spec(name: str, value: Any, is_optional: bool = False) -> InputSpec | None:
    """None for what is no specification: a list of a type, or of choices, and options."""
    if not isinstance(value, list | tuple) or not value:
        return None
    type_, options = value[0], _mapping(value[1] if len(value) > 1 else None)
    if isinstance(type_, list | tuple):
        return InputSpec(name, "COMBO", options, list(type_), is_optional)
    if type_ == "COMBO":
        choices = options.get("options")
        return InputSpec(name, "COMBO", options, list(choices) if isinstance(choices, list) else [], is_optional)
    return InputSpec(name, type_ if isinstance(type_, str) else "UNKNOWN", options, None, is_optional)


def _ordered(declared: Mapping[str, InputSpec], order: Mapping[str, Any]) -> list[InputSpec]:
    """By the class's own order, which JSON's may not be; what that leaves out comes last."""
    ordered = dict[str, InputSpec]()
    for part, is_optional in (("required", False), ("optional", True)):
        names = order.get(part)
        for name in names if isinstance(names, list) else ():
            spec = declared.get(name) if isinstance(name, str) else None
            if spec is not None and spec.is_optional == is_optional:
                ordered[spec.name] = spec
    return list({**ordered, **{name: spec for name, spec in declared.items() if name not in ordered}}.values())


def _extended(name: str, required: dict[str, Any]) -> dict[str, Any]:
    if name in _WITH_PLAYER:
        required["audioUI"] = ["AUDIO_UI", {}]
    audio = read_spec("audio", required.get("audio"))
    if audio is not None and audio.options.get("audio_upload") is True:
        required["upload"] = ["AUDIOUPLOAD", {}]
    if any(_is_upload(spec) for spec in read_specs(required, None)):
        required["upload"] = ["IMAGEUPLOAD", {}]
    if name in ("SaveGLB", "Preview3D"):
        required["image"] = ["PREVIEW_3D"]
    if name == "Load3DAdvanced":
        required["viewport_state"] = ["LOAD_3D_ADVANCED", {}]
    return required


def _is_upload(spec: InputSpec) -> bool:
    return spec.type == "COMBO" and any(spec.options.get(option) is True for option in _UPLOADS)


def _output_type(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "COMBO"
    return value if isinstance(value, str) and value != "COMFY_MATCHTYPE_V3" else "*"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
