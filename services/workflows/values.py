"""What ComfyUI would refuse of a prompt's values and links, by the rules of its `execution.validate_inputs`.

It looks only at the nodes that an output node needs. Rules that a node class brings of its own it does not tell of.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from services.comfyui import Prompt
from services.workflows.declared import Declared, declared, is_custom, is_output, is_sayable
from services.workflows.report import CHOICES_MAX, WrongValue, shown

# Finding the nearest of ten thousand names takes seconds; so does finding them for thousands of values.
COMPARED_MAX = 1_000
COMPARISONS_MAX = 40
# Nobody reads more of them.
TOLD_MAX = 500
_ANYTHING = {"*", "COMFY_MATCHTYPE_V3"}
_NUMBERS: dict[str, tuple[Callable[[Any], Any], str]] = {"INT": (int, "a whole number"), "FLOAT": (float, "a number")}

Definitions = Mapping[str, Mapping[str, Any]]
# Whether a file named as ComfyUI does (`sub/name.png [output]`) is there.
HasFile = Callable[[str], bool]


class Judged(Struct, frozen=True):
    """`can_run`: whether at least one output would run. `needed`: ids of the nodes that outputs need."""

    wrong: tuple[WrongValue, ...]
    can_run: bool
    needed: tuple[str, ...]


def judge(
    prompt: Prompt,
    definitions: Definitions,
    titles: Mapping[str, str],
    has_file: HasFile,
    is_missing_model: Callable[[str, Declared, Any], bool],
) -> Judged:
    """`is_missing_model`: of (class, input, value), what is told elsewhere and is not a wrong value.

    Nodes of classes that are not in `definitions` count as outputs: what they need will be needed.
    """
    outputs = [id_ for id_, node in prompt.items() if _is_wanted(definitions.get(node["class_type"]))]
    needs = {id_: tuple(_linked(node["inputs"], prompt)) for id_, node in prompt.items()}
    needed = _reached(outputs, needs)
    scene = _Scene(prompt, definitions, has_file, is_missing_model)
    wrong = {
        id_: list(_Look(id_, titles[id_], definition, scene).wrong())
        for id_ in needed
        if (definition := definitions.get(prompt[id_]["class_type"])) is not None
    }
    for id_ in _in_circles(needed, needs):
        wrong.setdefault(id_, []).append(_of_node(prompt, id_, titles, "its links lead in a circle back to itself"))
    found = tuple(problem for id_ in needed for problem in wrong.get(id_, ()))[:TOLD_MAX]
    if not outputs:
        message = "nothing in the workflow is an output: add a node that saves or shows something, such as Save Image"
        return Judged((WrongValue("", "", "", "", None, (), message),), False, ())
    bad = {id_ for id_, problems in wrong.items() if any(problem.refused for problem in problems)}
    spoilt = set(_reached(sorted(bad), _turned(needs)))
    can_run = any(output not in spoilt for output in outputs)
    return Judged(found, can_run, tuple(needed))


class _Scene(Struct):
    """What is the same for all nodes; `compared`: how many values the nearest choices were looked for."""

    prompt: Prompt
    definitions: Definitions
    has_file: HasFile
    is_missing_model: Callable[[str, Declared, Any], bool]
    compared: int = 0

    def nearest(self, value: Any, choices: list[Any]) -> tuple[Any, ...]:
        self.compared += 1
        return _nearest(value if self.compared <= COMPARISONS_MAX else None, choices)


class _Look:
    """At one node."""

    def __init__(self, node_id: str, title: str, definition: Mapping[str, Any], scene: _Scene) -> None:
        node = scene.prompt[node_id]
        self._node_id = node_id
        self._class = str(node["class_type"])
        self._title = title
        self._inputs: Mapping[str, Any] = node["inputs"]
        self._definition = definition
        self._is_custom = is_custom(definition)
        self._scene = scene

    def wrong(self) -> Iterator[WrongValue]:
        for name, input_ in declared(self._definition, self._inputs).items():
            if name not in self._inputs:
                if input_.required and not _is_group(input_):
                    yield self._wrong(name, None, "needs a value or a link, and has neither")
                continue
            value = self._inputs[name]
            problem = self._of_link(input_, value) if isinstance(value, list) else self._of_value(input_, value)
            if problem is not None:
                yield problem

    def _of_link(self, input_: Declared, value: list[Any]) -> WrongValue | None:
        if len(value) != 2:
            return self._wrong(input_.name, value, "a link is [id of a node, number of its output], and this is not")
        source = self._scene.prompt.get(value[0]) if isinstance(value[0], str) else None
        if source is None:
            return self._wrong(input_.name, value, f"is linked to node {shown(value[0])}, which is not in the workflow")
        definition = self._scene.definitions.get(source["class_type"])
        if definition is None:
            return None
        outputs = definition.get("output")
        if not isinstance(outputs, list):
            return None
        # As Python counts: -1 is the last.
        if type(value[1]) is not int or not -len(outputs) <= value[1] < len(outputs):
            slots = f"node {value[0]} ({shown(source['class_type'])}) has {len(outputs)}"
            return self._wrong(input_.name, value, f"is linked to output {shown(value[1])}, and {slots}")
        if _can_be_linked(outputs[value[1]], input_.type):
            return None
        taken = "one of its choices" if isinstance(input_.type, list) else shown(input_.type)
        kinds = f"takes {taken} and is linked to {shown(outputs[value[1]])} of node {value[0]}"
        return self._wrong(input_.name, value, kinds, refused=not (self._is_custom or is_custom(definition)))

    def _of_value(self, input_: Declared, value: Any) -> WrongValue | None:
        if isinstance(value, Mapping) and "__value__" in value:
            value = value["__value__"]
        if (number := _NUMBERS.get(input_.type) if isinstance(input_.type, str) else None) is not None:
            make, kind = number
            try:
                value = make(value)
            except (TypeError, ValueError, OverflowError):
                return self._wrong(input_.name, value, f"must be {kind}, and is {_quoted(value)}")
            return self._of_number(input_, value)
        if input_.is_file:
            return self._of_file(input_, value)
        return self._of_choice(input_, value)

    def _of_number(self, input_: Declared, value: float) -> WrongValue | None:
        low, high = _number(input_.options.get("min")), _number(input_.options.get("max"))
        if low is not None and value < low:
            message = f"must be at least {low}, and is {value}"
        elif high is not None and value > high:
            message = f"must be at most {high}, and is {value}"
        else:
            return None
        return self._wrong(input_.name, value, message, refused=not self._is_custom)

    def _of_file(self, input_: Declared, value: Any) -> WrongValue | None:
        choices = input_.choices or []
        if value in choices:
            return None
        if not isinstance(value, str) or not value:
            return self._wrong(input_.name, value, "names no file: choose one", self._scene.nearest("", choices))
        if self._scene.has_file(value):
            return None
        message = f"the file {_quoted(value)} is not among ComfyUI's inputs: upload it, or choose another"
        return self._wrong(
            input_.name, value, message, self._scene.nearest(value, choices), refused=not self._is_custom
        )

    def _of_choice(self, input_: Declared, value: Any) -> WrongValue | None:
        choices = input_.choices
        if choices is None:
            return None
        several = bool(input_.options.get("multiselect")) and isinstance(value, list)
        wrong = [one for one in (value if several else [value]) if one not in choices]
        if not wrong or self._scene.is_missing_model(self._class, input_, value):
            return None
        # ComfyUI 0.3.75 takes any value for a combo of its newer kind; 0.33.0 does not.
        refused = isinstance(input_.type, list) and not self._is_custom
        if not choices:
            message = f"there is nothing to choose from, and the workflow has {_quoted(wrong[0])}"
        else:
            message = f"{_quoted(wrong[0])} is not one of the {len(choices)} choices: choose another"
        return self._wrong(input_.name, value, message, self._scene.nearest(wrong[0], choices), refused=refused)

    def _wrong(
        self, name: str, value: Any, message: str, choices: tuple[Any, ...] = (), *, refused: bool = True
    ) -> WrongValue:
        told = f"{shown(self._title)}, {shown(name)}: {message}"
        return WrongValue(self._node_id, self._class, self._title, name, _told(value), choices, told, refused)


def _is_wanted(definition: Mapping[str, Any] | None) -> bool:
    return definition is None or is_output(definition)


def _of_node(prompt: Prompt, node_id: str, titles: Mapping[str, str], message: str) -> WrongValue:
    title = titles[node_id]
    return WrongValue(node_id, prompt[node_id]["class_type"], title, "", None, (), f"{shown(title)}: {message}")


def _linked(inputs: Mapping[str, Any], prompt: Prompt) -> Iterator[str]:
    """Through inputs that are not declared too: custom nodes read what they like."""
    for value in inputs.values():
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and value[0] in prompt:
            yield value[0]


def _reached(starts: list[str], needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    found, waiting = dict.fromkeys(starts), list(starts)
    while waiting:
        for id_ in needs[waiting.pop()]:
            if id_ not in found:
                found[id_] = None
                waiting.append(id_)
    return [id_ for id_ in needs if id_ in found]


def _in_circles(ids: list[str], needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Those that are left when whatever needs nothing of the rest is taken away, from either end."""
    left = set(ids)
    for links in (needs, _turned(needs)):
        counts = {id_: len({other for other in links[id_] if other in left}) for id_ in left}
        back = _turned({id_: links[id_] for id_ in left})
        free = [id_ for id_, count in counts.items() if not count]
        while free:
            id_ = free.pop()
            left.discard(id_)
            for other in back.get(id_, ()):
                if other in left:
                    counts[other] -= 1
                    if not counts[other]:
                        free.append(other)
    return [id_ for id_ in ids if id_ in left]


def _turned(links: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {id_: [] for id_ in links}
    for id_, others in links.items():
        for other in set(others):
            found.setdefault(other, []).append(id_)
    return {id_: tuple(others) for id_, others in found.items()}


def _is_group(input_: Declared) -> bool:
    """A socket that grows, or whose parts have names of their own: nothing is sent under its own name."""
    return isinstance(input_.type, str) and input_.type.startswith(("COMFY_AUTOGROW", "COMFY_DYNAMICSLOT"))


def _can_be_linked(sent: Any, taken: Any) -> bool:
    if isinstance(sent, str) and isinstance(taken, list):
        return sent in {"COMBO", *_ANYTHING}
    if not isinstance(sent, str) or not isinstance(taken, str):
        # A combo's choices: only ComfyUI can tell whether both are the same list.
        return True
    ours, theirs = ({kind.strip() for kind in types.split(",")} for types in (sent, taken))
    return bool(ours & theirs) or bool((ours | theirs) & _ANYTHING) or taken.startswith("COMFY_")


def _number(value: Any) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _is_text(choice: Any) -> bool:
    return isinstance(choice, str) and is_sayable(choice)


def _nearest(value: Any, choices: list[Any]) -> tuple[Any, ...]:
    plain = [choice for choice in choices if isinstance(choice, int | float) or _is_text(choice)]
    names = {str(choice).lower(): choice for choice in plain[:COMPARED_MAX]}
    near = difflib.get_close_matches(str(value)[:200].lower(), list(names), CHOICES_MAX) if value else []
    return tuple(dict.fromkeys([*(names[name] for name in near), *plain[:CHOICES_MAX]]))[:CHOICES_MAX]


def _quoted(value: Any) -> str:
    return f"'{shown(value)}'"


def _told(value: Any) -> Any:
    """`value`, as much of it as is of use."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return value if isinstance(value, str) and len(value) <= 1_000 else shown(value)
