import pytest

from services.artifacts import Artifact
from services.vram import weights_bytes


def file(folder: str, size_bytes: int | None, name: str = "a.safetensors") -> Artifact:
    return Artifact("https://example.com/a", folder, name, size_bytes=size_bytes)


@pytest.mark.parametrize(
    ("files", "needed"),
    [
        ([file("checkpoints", 7)], 7),
        ([file("diffusion_models", 10), file("text_encoders", 4), file("vae", 1)], 11),
        ([file("diffusion_models", 3), file("text_encoders", 9), file("vae", 1)], 9),
        ([file("diffusion_models", 10, "high"), file("diffusion_models", 9, "low"), file("loras", 2)], 12),
        ([file("text_encoders", 5, "clip"), file("text_encoders", 6, "t5"), file("diffusion_models", 8)], 11),
    ],
    ids=["one checkpoint", "encoder goes first", "encoder is larger", "one model at a time", "encoders together"],
)
def test_what_is_in_use_at_the_same_time_is_counted(files: list[Artifact], needed: int) -> None:
    assert weights_bytes(files) == needed


def test_an_unknown_size_makes_the_whole_unknown() -> None:
    assert weights_bytes([file("checkpoints", 7), file("vae", None)]) is None


def test_files_that_no_card_loads_need_nothing_known() -> None:
    assert weights_bytes([file("configs", 7)]) is None
