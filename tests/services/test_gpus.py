import ctypes
import types
from typing import Any

import pytest

from services.gpus import Gpu, Gpus


class NVMLError(Exception):
    pass


def driver(cards: list[Any]) -> types.ModuleType:
    """NVML with `cards`: an exception for one that is lost, else its values by function name, None for those the
    driver does not tell."""
    nvml = types.ModuleType("pynvml")

    def handle(index: int) -> Any:
        if isinstance(cards[index], Exception):
            raise cards[index]
        return cards[index]

    def ask(function: str) -> Any:
        def answer(card: dict[str, Any], *_: Any) -> Any:
            if card.get(function) is None:
                raise NVMLError("Not Supported")
            return card[function]

        return answer

    values: dict[str, Any] = {
        "NVMLError": NVMLError,
        "NVML_TEMPERATURE_GPU": 0,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: len(cards),
        "nvmlDeviceGetHandleByIndex": handle,
    }
    for name in ("Name", "MemoryInfo", "UtilizationRates", "Temperature", "PowerUsage"):
        values[f"nvmlDeviceGet{name}"] = ask(name)
    for name, value in values.items():
        setattr(nvml, name, value)
    return nvml


@pytest.fixture
def with_driver(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(cards: list[Any]) -> None:
        monkeypatch.setattr(ctypes, "CDLL", lambda _name: None)
        monkeypatch.setitem(__import__("sys").modules, "pynvml", driver(cards))

    return install


CARD = {
    "Name": "NVIDIA H100",
    "MemoryInfo": types.SimpleNamespace(used=10, total=80),
    "UtilizationRates": types.SimpleNamespace(gpu=42),
    "Temperature": 55,
    "PowerUsage": 123_456,
}


def test_a_card_says_how_it_is(with_driver: Any) -> None:
    with_driver([CARD])
    assert Gpus().sample() == (Gpu(0, "NVIDIA H100", 42, 10, 80, 55, 123.5),)


def test_what_the_driver_does_not_say_is_not_known(with_driver: Any) -> None:
    with_driver([{"Name": "MIG"}])
    assert Gpus().sample() == (Gpu(0, "MIG", None, None, None, None, None),)


def test_a_lost_card_does_not_hide_the_others(with_driver: Any) -> None:
    with_driver([NVMLError("GPU is lost"), CARD])
    assert [gpu.index for gpu in Gpus().sample()] == [1]


def test_a_driver_without_cards_is_no_gpu(with_driver: Any) -> None:
    with_driver([])
    gpus = Gpus()
    assert len(gpus) == 0
    assert gpus.problem


def test_a_machine_without_a_driver_has_none_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    gpus = Gpus()
    assert gpus.sample() == ()
    assert "libnvidia-ml" in gpus.problem
