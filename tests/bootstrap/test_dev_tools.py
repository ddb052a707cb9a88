import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap import dev_tools
from bootstrap.comfyui import Launch
from bootstrap.users import User, Users
from services.dev_tools import DevTool, switched_on
from services.settings import SECRET_NAMES, Settings
from tests.bootstrap.conftest import MakeSettings

SEPARATE = Users(User("suite", 1, 1), User("comfyui", 2, 1), "workspace", ())


@pytest.fixture
def both_on(make_settings: MakeSettings) -> Settings:
    return make_settings(
        CODE_SERVER="on", JUPYTER="on", CODE_SERVER_PROGRAM=sys.executable, JUPYTER_PROGRAM="/nonexistent/jupyter-lab"
    )


@pytest.fixture(params=["code-server", "jupyter"])
def tool(request: pytest.FixtureRequest, both_on: Settings) -> DevTool:
    return next(tool for tool in switched_on(both_on) if tool.name == request.param)


def launch(user: Path) -> Launch:
    return Launch("/v/config/extra_model_paths.yaml", "/v/output", "/v/uploads/input", str(user))


def test_nothing_is_on_unless_asked_for(make_settings: MakeSettings) -> None:
    assert switched_on(make_settings()) == ()


def test_what_is_on_and_not_installed_is_said_in_a_sentence(both_on: Settings) -> None:
    (problem,) = dev_tools.problems(both_on, SEPARATE)
    assert problem.startswith("JUPYTER=on, but /nonexistent/jupyter-lab is not there")
    assert [tool.name for tool in dev_tools.startable(both_on, SEPARATE)] == ["code-server"]


def test_none_is_started_as_the_user_who_can_read_secrets(both_on: Settings) -> None:
    shared = replace(SEPARATE, comfyui=SEPARATE.suite, missing=("why",))
    assert dev_tools.startable(both_on, shared) == ()
    assert "is not started as the user who can read the suite's secrets" in dev_tools.problems(both_on, shared)[0]


def test_it_listens_on_its_socket_alone(tool: DevTool, both_on: Settings) -> None:
    command = dev_tools.arguments(tool, both_on, launch(both_on.workspace / "user"))
    assert command[0] == str(tool.program)
    assert str(tool.socket) in " ".join(command)
    assert not {word for word in ("--port", "--ip", "--bind-addr", "--ServerApp.ip") if word in " ".join(command)}


def test_any_origin_is_never_allowed(tool: DevTool, both_on: Settings) -> None:
    command = " ".join(dev_tools.arguments(tool, both_on, launch(both_on.workspace / "user")))
    assert "allow_origin" not in command
    assert "trusted-origins" not in command


def test_it_works_on_the_volume_and_keeps_there_what_it_is_told(tool: DevTool, both_on: Settings) -> None:
    told = launch(both_on.workspace / "user")
    assert dev_tools.working_dir(both_on, told) == both_on.workspace
    known = [*dev_tools.arguments(tool, both_on, told), *dev_tools.environment(both_on, told).values()]
    assert f"{both_on.workspace}/user/{tool.name}" in " ".join(known)


def test_it_stays_away_from_a_volume_that_cannot_be_written(tool: DevTool, both_on: Settings) -> None:
    told = launch(both_on.state_dir / "comfyui" / "user")
    assert dev_tools.working_dir(both_on, told) == both_on.state_dir / "comfyui" / "home"
    assert str(both_on.workspace) not in " ".join(dev_tools.arguments(tool, both_on, told))


def test_its_environment_is_comfyuis_without_secrets(both_on: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRET_NAMES:
        monkeypatch.setenv(name, "canary")
        monkeypatch.setenv(f"{name}_FILE", "canary")
    environment = dev_tools.environment(both_on, launch(both_on.workspace / "user"))
    assert "canary" not in environment.values()
    assert environment["PATH"].startswith(f"{both_on.comfyui_python.parent}:")


def test_jupyterlab_opens_where_comfyuis_user_may_write(both_on: Settings) -> None:
    tool = switched_on(both_on)[1]
    told = launch(both_on.workspace / "user")
    assert f"--ServerApp.preferred_dir={both_on.workspace}/user/notebooks" in dev_tools.arguments(tool, both_on, told)


def test_each_has_a_port_and_a_socket_of_its_own(both_on: Settings) -> None:
    first, second = switched_on(replace(both_on, code_server_port=1, jupyter_port=2))
    assert (first.port, second.port) == (1, 2)
    assert first.socket != second.socket
