"""What the machine is doing: processor, memory, GPU, network. Rates are since the last sample."""

import time

import psutil
from msgspec import Struct

from services import log
from services.gpus import Gpu, Gpus

_log = log.get("metrics")


class Cpu(Struct, frozen=True):
    percent: float
    per_core: tuple[float, ...]


class Memory(Struct, frozen=True):
    used_bytes: int
    total_bytes: int


class Network(Struct, frozen=True):
    received_bytes_per_second: float
    sent_bytes_per_second: float


class Sample(Struct, frozen=True):
    cpu: Cpu
    memory: Memory
    gpus: tuple[Gpu, ...]
    network: Network


class Sampler:
    """Keeps what rates are computed from. Blocking for a few milliseconds, some more for GPUs."""

    def __init__(self) -> None:
        self._gpus = Gpus()
        if self._gpus.problem:
            _log.info("no_gpu", reason=self._gpus.problem)
        psutil.cpu_percent(percpu=True)
        self._network = _network_totals()
        self._sampled_at = time.monotonic()

    def sample(self) -> Sample:
        per_core = tuple(psutil.cpu_percent(percpu=True))
        memory = psutil.virtual_memory()
        return Sample(
            cpu=Cpu(round(sum(per_core) / len(per_core), 1), per_core),
            memory=Memory(memory.total - memory.available, memory.total),
            gpus=self._gpus.sample(),
            network=self._network_rates(),
        )

    def _network_rates(self) -> Network:
        now, (received, sent) = time.monotonic(), _network_totals()
        seconds = max(now - self._sampled_at, 0.001)
        before = self._network
        self._network, self._sampled_at = (received, sent), now
        return Network(_rate(before[0], received, seconds), _rate(before[1], sent, seconds))


def _rate(before: int, now: int, seconds: float) -> float:
    """The totals shrink when an interface goes."""
    return round(max(now - before, 0) / seconds, 1)


def _network_totals() -> tuple[int, int]:
    """(received, sent) over every interface but loopback, on which the suite talks to itself."""
    totals = [figures for name, figures in psutil.net_io_counters(pernic=True).items() if name != "lo"]
    return sum(t.bytes_recv for t in totals), sum(t.bytes_sent for t in totals)
