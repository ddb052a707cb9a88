"""What the machine is doing: processor, memory, GPU, network. Rates are since the last sample."""

import contextlib
import ctypes
import time

import psutil
from msgspec import Struct

from services import log

# The driver's library; it comes with the driver, not with us.
_NVML = "libnvidia-ml.so.1"

_log = log.get("metrics")


class Cpu(Struct, frozen=True):
    percent: float
    per_core: tuple[float, ...]


class Memory(Struct, frozen=True):
    used_bytes: int
    total_bytes: int


class Gpu(Struct, frozen=True):
    """None where the driver does not say (many values are missing on cards in MIG mode and on laptops)."""

    index: int
    name: str
    utilization_percent: int | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    temperature_celsius: int | None
    power_watts: float | None


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
        self._gpus = _Gpus()
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
        rates = Network(
            round((received - self._network[0]) / seconds, 1), round((sent - self._network[1]) / seconds, 1)
        )
        self._network, self._sampled_at = (received, sent), now
        return rates


def _network_totals() -> tuple[int, int]:
    """(received, sent) over every interface but loopback, on which the suite talks to itself."""
    totals = [figures for name, figures in psutil.net_io_counters(pernic=True).items() if name != "lo"]
    return sum(t.bytes_recv for t in totals), sum(t.bytes_sent for t in totals)


class _Gpus:
    """NVML, if there is a driver. A container without a GPU has none, which is no error."""

    def __init__(self) -> None:
        self._handles: list[object] = []
        try:
            ctypes.CDLL(_NVML)
        except OSError:
            _log.info("no_gpu", reason=f"no {_NVML}")
            return
        # 3 MB that a machine without a driver has no use for.
        import pynvml

        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as error:
            _log.info("no_gpu", reason=str(error))

    def sample(self) -> tuple[Gpu, ...]:
        return tuple(self._gpu(index, handle) for index, handle in enumerate(self._handles))

    def _gpu(self, index: int, handle: object) -> Gpu:
        nvml = self._nvml
        name, used, total, utilization, temperature, power = "GPU", None, None, None, None, None
        with contextlib.suppress(nvml.NVMLError):
            name = nvml.nvmlDeviceGetName(handle)
        with contextlib.suppress(nvml.NVMLError):
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            used, total = int(memory.used), int(memory.total)
        with contextlib.suppress(nvml.NVMLError):
            utilization = int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        with contextlib.suppress(nvml.NVMLError):
            temperature = int(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        with contextlib.suppress(nvml.NVMLError):
            power = round(nvml.nvmlDeviceGetPowerUsage(handle) / 1000, 1)
        return Gpu(index, name, utilization, used, total, temperature, power)


def has_nvidia_gpu() -> bool:
    """Whether the driver finds a card; ComfyUI is started with --cpu otherwise."""
    return bool(_Gpus()._handles)
