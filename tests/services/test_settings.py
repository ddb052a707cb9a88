from pathlib import Path

import pytest

from services.errors import InvalidSettings
from services.settings import SECRET_NAMES, Settings, described, load

BAD_VALUES = {
    "WORKSPACE": "models",
    "STATE_DIR": "/var/lib/my suite",
    "DASHBOARD_PORT": "70000",
    "DOWNLOAD_MAX_BYTES_PER_SECOND": "5 MB",
    "DOWNLOAD_LIMIT_HOURS": "08:00",
    "COMFYUI_PORT": "http",
    "COMFYUI_LOOPBACK_PORT": "80",
    "COMFYUI_URL": "example.com",
    "COMFYUI_ARGS": "--listen '127.0.0.1",
    "COMFYUI_DEVICE": "tpu",
    "AUTH": "perhaps",
    "ALLOWED_HOSTS": "https://example.com",
    "CORS_ORIGINS": "example.com",
    "DOWNLOAD_WORKERS": "0",
    "HF_ENDPOINT": "ftp://mirror.example",
    "DISK_RESERVE_BYTES": "1GB",
    "SUITE_USER": "Robert'); DROP",
    "LOG_LEVEL": "loud",
}


def problems(environ: dict[str, str]) -> dict[str, str]:
    with pytest.raises(InvalidSettings) as caught:
        load(environ)
    found: dict[str, str] = caught.value.details["problems"]
    return found


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    settings = load({})
    assert (settings.workspace, settings.dashboard_port, settings.comfyui_port) == (Path("/workspace"), 8080, 3000)
    assert settings.auth
    assert not settings.download_private_hosts


def test_every_bad_value_is_reported_at_once() -> None:
    assert set(problems(BAD_VALUES)) == set(BAD_VALUES)


@pytest.mark.parametrize(("name", "value"), BAD_VALUES.items())
def test_a_bad_value_is_named_in_the_message(name: str, value: str) -> None:
    with pytest.raises(InvalidSettings, match=f"^{name}: "):
        load({name: value})


@pytest.mark.parametrize("name", [name for name, *_ in described()])
def test_an_empty_value_counts_as_not_set(name: str) -> None:
    assert load({name: " "}) == load({})


@pytest.mark.parametrize("text", ["on", "1", "TRUE", "yes"])
def test_a_switch_is_turned_on_by_the_usual_words(text: str) -> None:
    assert load({"TRUST_PROXY": text}).trust_proxy


@pytest.mark.parametrize("text", ["off", "0", "False", "NO"])
def test_a_switch_is_turned_off_by_the_usual_words(text: str) -> None:
    assert not load({"AUTH": text}).auth


@pytest.mark.parametrize(
    "ports",
    [
        {"DASHBOARD_PORT": "3000"},
        {"COMFYUI_PORT": "8188"},
        {"DASHBOARD_PORT": "8188"},
    ],
)
def test_two_equal_ports_are_refused(ports: dict[str, str]) -> None:
    assert "must differ" in problems(ports)["COMFYUI_PORT"]


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"JUPYTER": "on", "JUPYTER_PORT": "3000"}, "JUPYTER_PORT"),
        ({"CODE_SERVER": "on", "DASHBOARD_PORT": "7777"}, "CODE_SERVER_PORT"),
        ({"CODE_SERVER": "on", "JUPYTER": "on", "JUPYTER_PORT": "7777"}, "JUPYTER_PORT"),
    ],
)
def test_a_developers_program_needs_a_port_of_its_own(environ: dict[str, str], name: str) -> None:
    assert set(problems(environ)) == {name}


def test_the_port_of_a_developers_program_that_is_off_is_free() -> None:
    assert load({"DASHBOARD_PORT": "8888", "COMFYUI_PORT": "7777"}).dashboard_port == 8888


def test_equal_ports_are_reported_beside_other_bad_values() -> None:
    assert set(problems({"DASHBOARD_PORT": "3000", "AUTH": "perhaps"})) == {"COMFYUI_PORT", "AUTH"}


@pytest.mark.parametrize(
    "address",
    [
        "http://",
        "http://[half",
        "http://mirror.example:99999",
        "http://mirror.example:port",
        "https://user@mirror.example",
        "https://mirror.example?a",
    ],
)
def test_what_only_looks_like_an_address_is_refused(address: str) -> None:
    assert set(problems({"HF_ENDPOINT": address})) == {"HF_ENDPOINT"}


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_secret_may_come_from_a_file(name: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("canary\n")
    assert load({f"{name}_FILE": str(file)}) == load({name: "canary"})


def test_the_secret_itself_wins_over_its_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from the file")
    assert load({"HF_TOKEN": "given", "HF_TOKEN_FILE": str(file)}).hf_token.reveal() == "given"


def test_a_blank_secret_does_not_hide_its_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from-the-file")
    assert load({"HF_TOKEN": " ", "HF_TOKEN_FILE": str(file)}).hf_token.reveal() == "from-the-file"


@pytest.mark.parametrize("name", ["HF_TOKEN", "CIVITAI_TOKEN"])
@pytest.mark.parametrize(
    "text", ["canary with a space", "can\nary", "can\tary", "can\x00ary", "c\u00e4nary", "canary\u200b"]
)
def test_a_token_that_no_header_can_hold_is_refused_without_being_repeated(
    name: str, text: str, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(text)
    for environ in ({name: text}, {f"{name}_FILE": str(file)}):
        found = problems(environ)
        assert set(found) == {name}
        assert "copy it anew" in found[name]
        assert "nary" not in found[name]


def test_a_secret_file_that_cannot_be_read_is_named() -> None:
    found = problems({"DASHBOARD_PASSWORD_FILE": "/nonexistent/password", "AUTH": "perhaps"})
    assert set(found) == {"DASHBOARD_PASSWORD", "AUTH"}
    assert "DASHBOARD_PASSWORD_FILE=/nonexistent/password" in found["DASHBOARD_PASSWORD"]


def test_a_secret_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"\xff\xfe")
    assert str(file) in problems({"HF_TOKEN_FILE": str(file)})["HF_TOKEN"]


def test_no_secret_shows_in_the_repr() -> None:
    text = repr(load({name: f"canary-{name}" for name in SECRET_NAMES}))
    assert "canary" not in text
    assert text.count("Secret('***')") == len(SECRET_NAMES)


def test_no_secret_shows_in_the_report_of_bad_values() -> None:
    with pytest.raises(InvalidSettings) as caught:
        load({**dict.fromkeys(SECRET_NAMES, "canary"), "AUTH": "perhaps"})
    assert "canary" not in caught.value.message + str(caught.value.details)


@pytest.mark.parametrize("character", list(" \t\n'\"\\%;{}#$@"))
def test_a_path_that_would_break_the_configuration_files_is_refused(character: str) -> None:
    assert set(problems({"WORKSPACE": f"/data/a{character}b"})) == {"WORKSPACE"}


@pytest.mark.parametrize("path", ["/data/modèles", "/data/a-b_c.d+e=f,g", "/data/../data", "/"])
def test_a_path_with_harmless_characters_is_taken(path: str) -> None:
    assert load({"WORKSPACE": path}).workspace == Path(path)


@pytest.mark.parametrize("pod", ["../../etc", "two words", 'a"b', "a/b", "a;b"])
def test_a_pod_id_that_is_not_one_plain_word_is_refused(pod: str) -> None:
    # It becomes a folder of the volume and a host name in nginx's configuration.
    assert set(problems({"RUNPOD_POD_ID": pod})) == {"RUNPOD_POD_ID"}


def test_pods_that_share_a_volume_keep_their_logs_apart() -> None:
    assert load({"RUNPOD_POD_ID": "abc123"}).logs_dir == Path("/workspace/logs/abc123")
    assert load({}).logs_dir == Path("/workspace/logs")


def test_a_runpod_pod_is_known_to_stand_behind_a_proxy() -> None:
    assert load({"RUNPOD_POD_ID": "abc123"}).behind_proxy
    assert not load({}).behind_proxy


def test_lists_may_be_separated_by_commas_and_spaces() -> None:
    assert load({"ALLOWED_HOSTS": "a.example, *.B.example\nc.example"}).allowed_hosts == (
        "a.example",
        "*.b.example",
        "c.example",
    )


def test_arguments_are_split_as_a_shell_would() -> None:
    assert load({"COMFYUI_ARGS": "--lowvram --name 'two words'"}).comfyui_args == ("--lowvram", "--name", "two words")


def test_the_slash_at_the_end_of_an_address_does_not_count() -> None:
    assert load({"HF_ENDPOINT": "https://mirror.example/"}).hf_endpoint == "https://mirror.example"


def test_settings_cannot_be_changed_afterwards() -> None:
    settings: Settings = load({})
    with pytest.raises(AttributeError):
        settings.auth = False  # type: ignore[misc]


@pytest.mark.parametrize("text", ["8:00-9:00", "08:00-24:00", "08:60-09:00", "08:00-08:00", "08:00-09:00-10:00", "all"])
def test_hours_that_are_none_are_refused(text: str) -> None:
    assert "such as 08:00-23:30" in problems({"DOWNLOAD_LIMIT_HOURS": text})["DOWNLOAD_LIMIT_HOURS"]


@pytest.mark.parametrize("text", ["08:00-23:30", "22:00 - 06:00"])
def test_hours_are_shown_as_they_are_written(text: str) -> None:
    assert str(load({"DOWNLOAD_LIMIT_HOURS": text}).download_limit_hours) == text.replace(" ", "")
