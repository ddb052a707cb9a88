from pathlib import Path

import pytest

from services.model_folders import KNOWN_FOLDERS, LEGACY_FOLDERS, LOADERS, folder_of_input, folders_of, model_folders


def test_the_folders_of_a_newer_comfyui_are_found_in_its_source(tmp_path: Path) -> None:
    (tmp_path / "folder_paths.py").write_text(
        "folder_names_and_paths = {}\n"
        'folder_names_and_paths["checkpoints"] = ([os.path.join(models_dir, "checkpoints")], ext)\n'
        'folder_names_and_paths["time_machines"] = ([], set())\n'
        'folder_names_and_paths["custom_nodes"] = ([], set())\n'
        'other["not_a_folder"] = 1\n'
        "folder_names_and_paths[name] = 2\n"
    )
    assert model_folders(tmp_path) == (*KNOWN_FOLDERS, "time_machines")
    assert folders_of(tmp_path) == ("checkpoints", "time_machines")


@pytest.mark.parametrize("source", [None, b"def broken(", b"\xff\xfe", b"a\0b", b""])
def test_a_source_that_cannot_be_read_leaves_the_known_folders(source: bytes | None, tmp_path: Path) -> None:
    if source is not None:
        (tmp_path / "folder_paths.py").write_bytes(source)
    assert model_folders(tmp_path) == KNOWN_FOLDERS
    assert folders_of(tmp_path) == ()


def test_the_source_is_read_and_never_run(tmp_path: Path) -> None:
    (tmp_path / "folder_paths.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    model_folders(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_old_names_lead_to_folders_that_exist() -> None:
    assert set(LEGACY_FOLDERS.values()) <= set(KNOWN_FOLDERS)
    assert not set(LEGACY_FOLDERS) & set(KNOWN_FOLDERS)


def test_every_loader_reads_a_known_folder() -> None:
    assert set(LOADERS) <= set(KNOWN_FOLDERS)


@pytest.mark.parametrize(
    ("class_type", "input_name", "folder"),
    [
        ("LoraLoader", "lora_name", "loras"),
        ("DualCLIPLoader", "clip_name2", "text_encoders"),
        ("UNETLoader", "unet_name", "diffusion_models"),
        ("LoraLoader", "strength", None),
        ("SomeoneElsesLoader", "lora_name", None),
    ],
)
def test_the_input_of_a_loader_tells_its_folder(class_type: str, input_name: str, folder: str | None) -> None:
    assert folder_of_input(class_type, input_name) == folder
