import time

from services.metrics import Sampler, has_nvidia_gpu


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


def test_a_machine_without_a_gpu_has_none_and_no_error() -> None:
    assert bool(Sampler().sample().gpus) is has_nvidia_gpu()
