import random
from pathlib import Path
from typing import Any

import pytest

from services.artifacts import Artifact
from services.errors import InvalidRequest
from services.model_folders import KNOWN_FOLDERS
from services.presets import InvalidPreset, Preset, is_address, parse_preset
from services.workspace import Workspace, check_name
from tests.services.preset_entries import entry, model


def preset(*sizes: int | None) -> Preset:
    files = [Artifact("https://example.com/a", "loras", f"{n}.pt", size_bytes=size) for n, size in enumerate(sizes)]
    return Preset(id="P", name="P", kind="image", description="", files=tuple(files))


def test_the_size_of_a_preset_is_the_sum_of_its_files() -> None:
    assert preset(1, 2).size_bytes == 3


def test_the_size_of_a_preset_is_not_known_while_one_files_is_not() -> None:
    assert preset(1, None).size_bytes is None


@pytest.mark.parametrize(("old", "new"), [("unet", "diffusion_models"), ("clip", "text_encoders")])
def test_the_old_name_of_a_folder_is_refused_with_the_new_one(old: str, new: str) -> None:
    with pytest.raises(InvalidRequest, match=f"'{old}' is called '{new}'"):
        parse_preset(entry(files=[model(folder=old)]))


def test_mirrors_are_taken_in_order() -> None:
    mirrors = ["https://one.example/a", "https://two.example/a"]
    assert parse_preset(entry(files=[model(mirrors=mirrors)])).files[0].mirrors == tuple(mirrors)


def test_a_mirror_that_is_no_address_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"'TINY': files\[0\].mirrors\[0\]: 'mirror' is not an http address"):
        parse_preset(entry(files=[model(mirrors=["mirror"])]))


def test_a_page_of_hugging_face_is_refused_with_the_address_of_the_file() -> None:
    page = "https://huggingface.co/a/b/blob/main/c.safetensors"
    with pytest.raises(InvalidRequest, match="/resolve/"):
        parse_preset(entry(files=[model(url=page)]))


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("..", "a.safetensors"),
        ("../config", "a.safetensors"),
        ("/etc", "a.safetensors"),
        (".", "a.safetensors"),
        ("", "a.safetensors"),
        ("loras/..", "a.safetensors"),
        ("loras\\..", "a.safetensors"),
        ("\uff0e\uff0e", "a.safetensors"),
        ("loras", "../a.safetensors"),
        ("loras", "../../config/a.safetensors"),
        ("loras", "/etc/a.safetensors"),
        ("loras", "flux/../../a.safetensors"),
        ("loras", "..\\a.safetensors"),
        ("loras", "\u2025/a.safetensors"),
        ("loras", "a\0.safetensors"),
        ("loras", "*.safetensors"),
        ("loras", "a.safetensors/"),
        ("loras", "a" * 5_000 + ".safetensors"),
        ("loras", ".hidden.safetensors"),
        ("loras", "a.safetensors\n"),
        ("loras", "run.py"),
        ("loras", "a.safetensors.part"),
        ("loras", ""),
    ],
)
def test_no_file_of_a_preset_can_lie_outside_the_models(folder: str, name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"preset 'TINY': files\[0\]\.(folder|name): "):
        parse_preset(entry(files=[model(folder=folder, name=name)]))


@pytest.mark.parametrize("id_", ["", ".hidden", "-dash", "a b", "a/b", "../a", "a" * 101, "é", "dot.", "line\n"])
def test_an_id_that_cannot_be_a_file_name_is_refused(id_: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_preset(entry(id=id_))


@pytest.mark.parametrize("id_", ["a", "WAN_22_5B_TIV2", "sd-1.5", "a" * 100])
def test_an_id_that_is_taken_can_be_a_file_name(id_: str) -> None:
    assert check_name(parse_preset(entry(id=id_)).id) == id_


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (entry(id="a b"), "preset 'a b': id: must be up to 100 letters, digits, '_', '-' and '.', and start with"),
        (entry(aliases=["a b"]), "preset 'TINY': aliases[0]: must be up to 100 letters"),
        (entry(files=[model(), model(sha256="x")]), "preset 'TINY': files[1].sha256: must be 64 hexadecimal digits"),
        (entry(files=[{}]), "preset 'TINY': files[0].url: is missing"),
        (entry(colour=1), "preset 'TINY': colour: is not a field that a preset has"),
        (entry(vram_bytes="8 GB"), "preset 'TINY': vram_bytes: Expected `int | null`, got `str`"),
        ("text", "Expected `object`, got `str`"),
    ],
)
def test_an_error_names_the_preset_and_the_field_and_says_what_is_wrong(broken: Any, message: str) -> None:
    with pytest.raises(InvalidPreset) as caught:
        parse_preset(broken)
    assert caught.value.message.startswith(message)


def test_an_error_knows_the_way_to_the_field() -> None:
    with pytest.raises(InvalidPreset) as caught:
        parse_preset(entry(files=[model(), model(name="b.pt", mirrors=["https://example.com/b.pt", "b"])]))
    assert caught.value.where == ("files", 1, "mirrors", 1)


@pytest.mark.parametrize("secret", ["canary", "user:canary", ":canary"])
@pytest.mark.parametrize("field", ["url", "mirrors"])
def test_a_password_in_an_address_is_refused_and_not_repeated(field: str, secret: str) -> None:
    url = f"https://{secret}@example.com/b.pt"
    with pytest.raises(
        InvalidPreset, match=r"example\.com has a user name or password in it: put the token into Settings"
    ) as caught:
        parse_preset(entry(files=[model(name="b.pt", **{field: url if field == "url" else [url]})]))
    assert "canary" not in caught.value.message


@pytest.mark.parametrize("url", ["javascript:alert(1)", "//example.com/a", "data:text/html,a", "https://a b/"])
def test_what_is_no_web_address_is_told(url: str) -> None:
    assert not is_address(url)


PIECES = [
    *("a", "b-1", "flux", "model.v2", "\u6a21\u578b", "x" * 100, "x" * 300, "CON", "nul", "aux.txt"),
    *("..", ".", "", "~", "$HOME", "%2e%2e", "%2f", "/", "//", "\\", "\0", "\n", "\r", "\t", " ", "-", ".hidden", "*"),
    *("\u2025", "\uff0e\uff0e", "\uff0f", "\u2044", "\u2215", "\u202e", "\u200b", "\ufeff", "e\u0301", "\ud800"),
    *("/etc", "C:", "models", "config", "..;", "...", "a..b", "a.", "a ", "?", "\U0001f600"),
]
SUFFIXES = [".safetensors", ".pt", ".gguf", ".SAFETENSORS", ".py", ".part", ".safetensors/", ".safetensors\n", ""]
ADDRESSES = [
    *("https://example.com/a.pt", "http://127.0.0.1/a", "https://huggingface.co/a/b/resolve/main/c.safetensors"),
    *("file:///etc/passwd", "https://example.com/../../etc", "ftp://a/b", "https://huggingface.co/a/blob/main/c", ""),
    *("https://[half", "https://example.com:x/a", "https://example.com/\n", "https://\u00e9/a", "javascript:1"),
]


def drawn(dice: random.Random) -> dict[str, Any]:
    """A file of a preset, from what usually does no harm and what is meant to."""
    folder = dice.choice(KNOWN_FOLDERS) if dice.random() < 0.8 else "".join(dice.choices(PIECES, k=dice.randint(1, 3)))
    if dice.random() < 0.4:
        name = dice.choice("/_-. ").join(dice.choices(PIECES[:6], k=dice.randint(1, 9)))
    else:
        name = dice.choice(["/", "", "."]).join(dice.choices(PIECES, k=dice.randint(1, 4)))
    suffix = dice.choice(SUFFIXES[:4] if dice.random() < 0.8 else SUFFIXES)
    url = ADDRESSES[0] if dice.random() < 0.8 else dice.choice(ADDRESSES)
    return model(folder=folder, name=name + suffix, url=url)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_a_preset_says_its_accepted_files_lie_in_the_models(seed: int, workspace: Workspace) -> None:
    dice = random.Random(seed)
    accepted, rejected = 0, 0
    for _ in range(2_000):
        try:
            file = parse_preset(entry(files=[drawn(dice)])).files[0]
        except InvalidRequest:
            rejected += 1
            continue
        accepted += 1
        # Both, because a volume's own file system may take more names than this one, and resolve follows links.
        target = workspace.model_file(file.folder, file.name)
        inside = Path(f"{workspace.models}/{file.folder}/{file.name}").resolve()
        assert target.resolve() == inside, file
        assert inside.is_relative_to(workspace.models.resolve() / file.folder), file
        assert inside != workspace.models.resolve() / file.folder, file
    assert min(accepted, rejected) > 400
