import time

import pytest

from services import metrics
from services.metrics import Network, Sampler


def test_a_sample_holds_plausible_figures() -> None:
    sample = Sampler().sample()
    assert 0 <= sample.cpu.percent <= 100
    assert all(0 <= percent <= 100 for percent in sample.cpu.per_core)
    assert 0 < sample.memory.used_bytes < sample.memory.total_bytes
    assert sample.network.received_bytes_per_second >= 0
    assert sample.network.sent_bytes_per_second >= 0


def test_work_shows_in_the_processors_figures() -> None:
    sampler = Sampler()
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        sum(range(1000))
    assert max(sampler.sample().cpu.per_core) > 20


def test_an_interface_that_goes_takes_no_traffic_back(monkeypatch: pytest.MonkeyPatch) -> None:
    totals = iter([(1_000, 1_000), (10, 10)])
    monkeypatch.setattr(metrics, "_network_totals", lambda: next(totals))
    assert Sampler().sample().network == Network(0.0, 0.0)
