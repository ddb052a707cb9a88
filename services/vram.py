"""How much of a card's memory a set of model files takes at least, judged by the files alone."""

from collections.abc import Iterable

from services.artifacts import Artifact

# ComfyUI runs the encoders first and lets go of them before the model that makes the picture, of which it loads one
# at a time (comfy/model_management.py); what stands in `_ON_TOP` is loaded beside that.
_ENCODERS = frozenset({"text_encoders", "clip_vision", "audio_encoders"})
_MAKERS = frozenset({"checkpoints", "diffusion_models", "diffusers", "upscale_models"})
_ON_TOP = frozenset({"loras", "controlnet", "model_patches", "style_models", "ipadapter", "vae"})


def weights_bytes(files: Iterable[Artifact]) -> int | None:
    """Bytes of the weights that are in use at the same time; None where a size is not known.

    What is computed with them comes on top, and ComfyUI can do with less by moving weights to and fro.
    """
    sizes: dict[str, list[int | None]] = {}
    for file in files:
        kind = next((name for name, folders in _KINDS.items() if file.folder in folders), "other")
        sizes.setdefault(kind, []).append(file.size_bytes)
    if any(size is None for found in sizes.values() for size in found):
        return None
    known = {kind: [size for size in found if size] for kind, found in sizes.items()}
    making = max(known.get("makers", []), default=0) + sum(known.get("on_top", []))
    return max(sum(known.get("encoders", [])), making) or None


_KINDS = {"encoders": _ENCODERS, "makers": _MAKERS, "on_top": _ON_TOP}
