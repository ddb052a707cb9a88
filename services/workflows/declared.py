"""The inputs that a node class declares, as `/object_info` describes them: `name: [type, {option: …}]`."""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

# Their choice decides which further inputs there are, named `input.further`.
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
MAX_DEPTH = 8
# A file that is uploaded: ComfyUI looks for it instead of holding it against the choices.
_UPLOADS = ("image_upload", "video_upload", "audio_upload", "file_upload")


class Declared(Struct, frozen=True):
    """`type`: a name, or the choices of an older combo."""

    name: str
    type: Any
    options: Mapping[str, Any]
    required: bool

    @property
    def choices(self) -> list[Any] | None:
        """None for what is no combo, and where only the editor knows them."""
        if isinstance(self.type, list):
            return self.type
        if self.type == DYNAMIC_COMBO:
            return [option["key"] for option in _alternatives(self.options)]
        options = self.options.get("options")
        if self.type != "COMBO" or not isinstance(options, list) or self.options.get("remote_combo"):
            return None
        return None if self.options.get("remote") and not options else options

    @property
    def names(self) -> tuple[str, ...]:
        """The choices that are texts. Names of files may be none: neither JSON nor a prompt could say them."""
        return tuple(choice for choice in self.choices or () if isinstance(choice, str) and is_sayable(choice))

    @property
    def is_file(self) -> bool:
        return any(self.options.get(name) for name in _UPLOADS)


def declared(definition: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Declared]:
    """By name; `values` are those that the node has, which decide about dynamic inputs."""
    return {found.name: found for found in _of(definition.get("input"), values, "", 0)}


def is_sayable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def is_output(definition: Mapping[str, Any]) -> bool:
    return definition.get("output_node") is True


def is_custom(definition: Mapping[str, Any]) -> bool:
    """Custom nodes may have rules of their own that nothing tells of."""
    return str(definition.get("python_module") or "").startswith("custom_nodes")


def _of(groups: Any, values: Mapping[str, Any], prefix: str, depth: int) -> Iterator[Declared]:
    # Custom nodes leave a part out or set it to None.
    for group in ("required", "optional") if isinstance(groups, Mapping) else ():
        inputs = groups.get(group)
        for name, specification in inputs.items() if isinstance(inputs, Mapping) else ():
            if not isinstance(specification, list) or not specification:
                continue
            options = specification[1] if len(specification) > 1 and isinstance(specification[1], Mapping) else {}
            found = Declared(prefix + name, specification[0], options, group == "required")
            yield found
            if found.type == DYNAMIC_COMBO and depth < MAX_DEPTH:
                chosen = values.get(found.name)
                for option in _alternatives(options):
                    if option["key"] == chosen:
                        yield from _of(option.get("inputs"), values, f"{found.name}.", depth + 1)


def _alternatives(options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = options.get("options")
    return [one for one in found if isinstance(one, Mapping) and "key" in one] if isinstance(found, list) else []
