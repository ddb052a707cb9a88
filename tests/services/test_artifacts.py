import string

from services.artifacts import Artifact, model_id


def test_a_file_has_the_same_id_wherever_it_comes_from() -> None:
    first = Artifact("https://example.com/a", "loras", "a.safetensors", size_bytes=1)
    second = Artifact("https://mirror.example/x", "loras", "a.safetensors")
    assert first.id == second.id == model_id("loras", "a.safetensors")


def test_files_of_one_name_in_two_folders_have_different_ids() -> None:
    assert model_id("loras", "a.safetensors") != model_id("vae", "a.safetensors")


def test_an_id_can_stand_in_an_address_and_a_file_name() -> None:
    id_ = model_id("loras", "sub/größe [1].safetensors")
    assert set(id_) <= set(string.hexdigits.lower())
    assert len(id_) == 20
