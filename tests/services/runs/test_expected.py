from typing import Any

import pytest

from services.runs import expected
from services.runs.expected import RUNS_PER_SHAPE, Done, Expected, shape_of

PROMPT: dict[str, dict[str, Any]] = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
    "2": {"class_type": "KSampler", "inputs": {"model": ["1", 0], "seed": 1, "steps": 20}},
}


def changed(node: str, name: str, value: Any) -> dict[str, dict[str, Any]]:
    inputs = {**PROMPT[node]["inputs"], name: value}
    return {**PROMPT, node: {**PROMPT[node], "inputs": inputs}}


def done(
    seconds: dict[str, float] | None = None,
    node_id: str | None = None,
    elapsed: float = 0.0,
    step: int | None = None,
    steps: int | None = None,
) -> Done:
    seconds = seconds or {}
    return Done(seconds, frozenset(seconds), node_id, elapsed, step, steps)


@pytest.fixture
def known() -> Expected:
    made = Expected()
    made.learn("a", {"1": 10.0, "2": 40.0, "3": 10.0})
    return made


@pytest.mark.parametrize(("node", "name", "value"), [("2", "seed", 2), ("1", "ckpt_name", "b.safetensors")])
def test_seeds_and_names_do_not_change_the_shape(node: str, name: str, value: Any) -> None:
    assert shape_of(changed(node, name, value)) == shape_of(PROMPT)


@pytest.mark.parametrize(("name", "value"), [("steps", 30), ("model", ["1", 1]), ("width", 512)])
def test_steps_sizes_and_links_change_the_shape(name: str, value: Any) -> None:
    assert shape_of(changed("2", name, value)) != shape_of(PROMPT)


def test_nothing_is_expected_of_what_never_ran(known: Expected) -> None:
    assert known.rest("b", done()) is None


def test_what_is_left_is_what_the_other_nodes_took(known: Expected) -> None:
    assert known.rest("a", done()) == 60.0
    assert known.rest("a", done({"1": 10.0}, "2", 0.0)) == 50.0
    assert known.rest("a", done({"1": 10.0, "2": 40.0}, "3", 4.0)) == 6.0


def test_the_steps_of_a_node_tell_what_is_left_of_it(known: Expected) -> None:
    # Half of it done in a quarter of its usual time.
    assert known.rest("a", done({"1": 10.0}, "2", 10.0, 10, 20)) == pytest.approx(20.0)


def test_nodes_that_were_in_the_cache_are_not_waited_for(known: Expected) -> None:
    cached = Done({}, frozenset({"1", "2"}), "3", 0.0, None, None)
    assert known.rest("a", cached) == 10.0


def test_a_machine_that_is_slower_today_takes_longer(known: Expected) -> None:
    assert known.rest("a", done({"1": 20.0}, "2", 0.0)) == pytest.approx(100.0)


def test_what_takes_longer_than_ever_is_not_over_yet(known: Expected) -> None:
    late = known.rest("a", done({"1": 10.0, "2": 40.0}, "3", 30.0))
    assert late is not None
    assert late > expected.MIN_REST_SECONDS


def test_a_run_that_is_under_way_is_never_at_its_end(known: Expected) -> None:
    over = Done({}, frozenset({"1", "2", "3"}), "3", 0.0, None, None)
    assert known.rest("a", over) == expected.MIN_REST_SECONDS


def test_the_newest_runs_count(known: Expected) -> None:
    for _ in range(RUNS_PER_SHAPE):
        known.learn("a", {"1": 1.0, "2": 2.0, "3": 3.0})
    assert known.rest("a", done()) == 6.0


def test_the_shapes_that_are_remembered_are_bounded(known: Expected, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expected, "MAX_SHAPES", 3)
    for number in range(3):
        known.learn(str(number), {"1": 1.0})
    assert known.rest("a", done()) is None
    assert known.rest("2", done()) == 1.0
