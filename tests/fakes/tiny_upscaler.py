"""A real model of 900 kB that a processor runs in a fraction of a second: an ESRGAN x4 with random weights.

The layout is the "old" RRDBNet naming (`model.1.sub.0.RDB1.conv1.0`), from which ComfyUI's loader (spandrel) reads
the architecture: 8 features, 1 block, growth 32, scale 4.
"""

import json
import math
import random
import struct

FEATURES, GROWTH, BLOCKS, SCALE = 8, 32, 1, 4


def _layers() -> dict[str, tuple[int, int]]:
    """(channels out, channels in) of every 3x3 convolution, by name."""
    layers = {"model.0": (FEATURES, 3)}
    for block in range(BLOCKS):
        for dense in (1, 2, 3):
            for conv in range(1, 6):
                out = FEATURES if conv == 5 else GROWTH
                layers[f"model.1.sub.{block}.RDB{dense}.conv{conv}.0"] = (out, FEATURES + (conv - 1) * GROWTH)
    layers[f"model.1.sub.{BLOCKS}"] = (FEATURES, FEATURES)
    doublings = int(math.log2(SCALE))
    for step in range(doublings):
        layers[f"model.{3 * (step + 1)}"] = (FEATURES, FEATURES)
    layers[f"model.{3 * doublings + 2}"] = (FEATURES, FEATURES)
    layers[f"model.{3 * doublings + 4}"] = (3, FEATURES)
    return layers


def make(seed: int = 0) -> bytes:
    """The file, in safetensors format: u64 header length, JSON header, tensors. The same for the same seed."""
    rng = random.Random(seed)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    tensors = bytearray()

    def add(name: str, shape: tuple[int, ...], values: list[float]) -> None:
        start = len(tensors)
        tensors.extend(struct.pack(f"<{len(values)}f", *values))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, len(tensors)]}

    for name, (out, into) in _layers().items():
        spread = 1 / math.sqrt(into * 9)
        add(f"{name}.weight", (out, into, 3, 3), [rng.gauss(0, spread) for _ in range(out * into * 9)])
        add(f"{name}.bias", (out,), [0.1] * out)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(tensors)
