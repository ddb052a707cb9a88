"""NVIDIA's cards, as their driver describes them (NVML). A machine without a driver has none, which is no error."""

import contextlib
import ctypes
from typing import Any

from msgspec import Struct

# The driver's library; it comes with the driver, not with us.
_NVML = "libnvidia-ml.so.1"


class Gpu(Struct, frozen=True):
    """None where the driver does not say (many values are missing on cards in MIG mode and on laptops)."""

    index: int
    name: str
    utilization_percent: int | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    temperature_celsius: int | None
    power_watts: float | None


class Gpus:
    """`problem` is why there are none."""

    def __init__(self) -> None:
        self._handles: dict[int, Any] = {}
        self.problem = ""
        try:
            ctypes.CDLL(_NVML)
        except OSError:
            self.problem = f"no {_NVML}"
            return
        # 3 MB that a machine without a driver has no use for.
        import pynvml

        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            self.problem = str(error)
            return
        for index in range(count):
            # A card that fell off the bus hides itself, not the others.
            with contextlib.suppress(pynvml.NVMLError):
                self._handles[index] = pynvml.nvmlDeviceGetHandleByIndex(index)
        if not self._handles:
            self.problem = "the driver shows no card"

    def __len__(self) -> int:
        return len(self._handles)

    def sample(self) -> tuple[Gpu, ...]:
        return tuple(self._gpu(index, handle) for index, handle in self._handles.items())

    def _gpu(self, index: int, handle: Any) -> Gpu:
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
