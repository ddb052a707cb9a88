from services.artifacts import Artifact
from services.presets import Preset


def preset(*sizes: int | None) -> Preset:
    files = [Artifact("https://example.com/a", "loras", f"{n}.pt", size_bytes=size) for n, size in enumerate(sizes)]
    return Preset(id="P", name="P", kind="image", description="", files=tuple(files))


def test_the_size_of_a_preset_is_the_sum_of_its_files() -> None:
    assert preset(1, 2).size_bytes == 3


def test_the_size_of_a_preset_is_not_known_while_one_files_is_not() -> None:
    assert preset(1, None).size_bytes is None
