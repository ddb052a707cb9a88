from pathlib import Path

import pytest

from services.credentials import HUBS, Credentials, Hub, checked_token, known_hub
from services.errors import InvalidRequest, NotFound, SuiteError
from services.settings import Secret, load
from services.sources import Sources
from services.workspace import Workspace


def credentials(workspace: Workspace, **environ: str) -> Credentials:
    return Credentials(load(environ), workspace)


def test_without_any_token_there_is_none(workspace: Workspace) -> None:
    found = credentials(workspace)
    assert [(found.get(hub).reveal(), found.source(hub)) for hub in HUBS] == [("", None)] * 2


def test_the_environments_token_is_used(workspace: Workspace) -> None:
    found = credentials(workspace, HF_TOKEN="one", CIVITAI_TOKEN="two")
    assert [(found.get(hub).reveal(), found.source(hub)) for hub in HUBS] == [
        ("one", "environment"),
        ("two", "environment"),
    ]


def test_a_token_that_was_saved_comes_first(workspace: Workspace) -> None:
    found = credentials(workspace, HF_TOKEN="one")
    found.put("huggingface", Secret("saved"))
    assert (found.get("huggingface").reveal(), found.source("huggingface")) == ("saved", "settings")


def test_another_process_sees_at_once_what_was_saved(workspace: Workspace) -> None:
    one, other = credentials(workspace), credentials(workspace)
    assert not other.get("civitai")
    one.put("civitai", Secret("saved"))
    assert other.get("civitai").reveal() == "saved"


def test_without_the_saved_token_the_environments_is_used_again(workspace: Workspace) -> None:
    found = credentials(workspace, HF_TOKEN="one")
    found.put("huggingface", Secret("saved"))
    found.delete("huggingface")
    assert (found.get("huggingface").reveal(), found.source("huggingface")) == ("one", "environment")


def test_removing_a_token_twice_is_removing_it_once(workspace: Workspace) -> None:
    found = credentials(workspace)
    found.delete("civitai")
    assert found.source("civitai") is None


def test_only_its_owner_can_read_a_saved_token(workspace: Workspace) -> None:
    workspace.secrets.rmdir()
    credentials(workspace).put("huggingface", Secret("saved"))
    file = workspace.secrets / "huggingface.token"
    assert (file.stat().st_mode & 0o777, workspace.secrets.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize("content", [b"two words", b"\xff", b"a\nb", b""])
def test_a_file_that_holds_no_token_is_as_good_as_none(content: bytes, workspace: Workspace) -> None:
    (workspace.secrets / "civitai.token").write_bytes(content)
    assert credentials(workspace, CIVITAI_TOKEN="given").source("civitai") == "environment"


def test_a_folder_in_the_place_of_the_file_is_as_good_as_none(workspace: Workspace) -> None:
    (workspace.secrets / "civitai.token").mkdir()
    assert credentials(workspace, CIVITAI_TOKEN="given").get("civitai").reveal() == "given"


def test_a_token_that_was_written_by_hand_may_end_its_line(workspace: Workspace) -> None:
    (workspace.secrets / "civitai.token").write_bytes(b"by-hand\r\n")
    assert credentials(workspace).get("civitai").reveal() == "by-hand"


def test_a_download_gets_the_tokens_of_its_moment(workspace: Workspace) -> None:
    settings = load({"HF_TOKEN": "given"})
    found = Credentials(settings, workspace)
    found.put("civitai", Secret("saved"))
    sources = Sources.from_settings(settings, found)
    assert sources.headers("https://huggingface.co/a") == {"Authorization": "Bearer given"}
    assert sources.headers("https://civitai.com/a") == {"Authorization": "Bearer saved"}


def test_a_token_that_was_entered_loses_the_space_around_it() -> None:
    assert checked_token(" hf_token\n").reveal() == "hf_token"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        (" \n ", "is empty"),
        ("canary canary", "copy it anew"),
        ("Bearer canary", "copy it anew"),
        ("can\r\nary", "copy it anew"),
        ("can\x7fary", "copy it anew"),
        ("can\u00e4ry", "copy it anew"),
        ("canary" * 200, "longer than 1000 characters"),
    ],
)
def test_what_can_be_no_token_is_refused_without_being_repeated(text: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked_token(text)
    assert words in caught.value.message
    assert "can" not in caught.value.message


@pytest.mark.parametrize("hub", HUBS)
def test_a_hub_is_known_by_its_name(hub: Hub) -> None:
    assert known_hub(hub) == hub


@pytest.mark.parametrize("name", ["", "Civitai", "../civitai", "github"])
def test_no_other_hub_takes_a_token(name: str) -> None:
    with pytest.raises(NotFound, match="there are huggingface, civitai"):
        known_hub(name)


def test_a_volume_that_takes_nothing_says_so(full_folder: Path) -> None:
    full = Workspace(full_folder)
    with pytest.raises((OSError, SuiteError)):
        credentials(full).put("huggingface", Secret("saved"))
    assert not credentials(full).get("huggingface")


def test_nobody_is_shown_a_token(workspace: Workspace) -> None:
    found = credentials(workspace, HF_TOKEN="canary")
    found.put("civitai", Secret("canary"))
    settings = load({"HF_TOKEN": "canary"})
    shown = (
        f"{found.get('civitai')!r} {found!r} {vars(found)!r} {settings!r} {Sources.from_settings(settings, found)!r}"
    )
    assert "canary" not in shown
