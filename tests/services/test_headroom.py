import pytest

from services.gpus import Gpu
from services.headroom import judge
from services.models import ModelFile
from services.named_models import NamedModel

GB = 10**9
FILES = [
    ModelFile("a", "checkpoints", "a.safetensors", 10 * GB, 0),
    ModelFile("b", "checkpoints", "b.safetensors", 30 * GB, 0),
]
A, B = (frozenset({NamedModel("checkpoints", f"{name}.safetensors")}) for name in "ab")
NOTHING: frozenset[NamedModel] = frozenset()


def gpu(used: int | None, total: int | None = 24 * GB) -> Gpu:
    return Gpu(0, "RTX 4090", None, used, total, None, None)


def advice(named: frozenset[NamedModel], card: Gpu, before: frozenset[NamedModel] = NOTHING, idle: bool = True) -> str:
    return judge(named, before, FILES, [card], is_idle=idle).advice


def test_what_fits_beside_what_is_there_goes() -> None:
    assert advice(A, gpu(14 * GB)) == "go"


def test_what_does_not_has_the_rest_unloaded_while_nothing_runs() -> None:
    assert advice(A, gpu(20 * GB)) == "free"


def test_what_runs_is_not_unloaded() -> None:
    found = judge(A, NOTHING, FILES, [gpu(20 * GB)], is_idle=False)
    assert found.advice == "warn"
    assert "10.0 GB" in found.message
    assert "4.0 GB of RTX 4090" in found.message


def test_what_is_loaded_already_is_not_loaded_twice() -> None:
    assert advice(A, gpu(20 * GB), before=A) == "go"


def test_what_no_card_can_hold_is_warned_of() -> None:
    found = judge(B, NOTHING, FILES, [gpu(0)], is_idle=True)
    assert found.advice == "warn"
    assert "30.0 GB" in found.message


def test_the_largest_card_counts() -> None:
    assert judge(B, NOTHING, FILES, [gpu(0), gpu(0, 80 * GB)], is_idle=True).advice == "go"


@pytest.mark.parametrize("card", [gpu(None), gpu(0, None)])
def test_a_card_that_does_not_say_what_it_has_is_trusted(card: Gpu) -> None:
    assert advice(B, card) == "go"


def test_without_a_card_and_without_models_nothing_is_said() -> None:
    assert judge(B, NOTHING, FILES, [], is_idle=True).advice == "go"
    assert advice(NOTHING, gpu(24 * GB)) == "go"
