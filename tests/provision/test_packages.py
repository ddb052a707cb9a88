"""What set-up asks the system for: with stand-ins for apt and dpkg, so that nothing is installed here."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from provision.commands import Commands
from provision.errors import SetupError
from provision.packages import RUN_PROGRAMS, TEST_PROGRAMS, find, install, missing_programs
from provision.settings import load
from provision.step import Step

Program = Callable[[str, str], Path]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a shell script onto a PATH that holds nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def make(name: str, script: str = "") -> Path:
        file = folder / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        return file

    return make


@pytest.fixture
def step(tmp_path: Path) -> Step:
    with (tmp_path / "lock").open("w") as lock:
        commands = Commands(tmp_path / "logs", tmp_path / "tmp", os.dup(lock.fileno()))
    return Step("packages", load({}, tmp_path), commands)


def test_what_is_on_the_path_is_not_missing(program: Program) -> None:
    program("nginx", "")
    assert set(missing_programs(RUN_PROGRAMS, is_git_optional=False)) == {"redis-server", "git"}


def test_git_is_not_demanded_where_there_is_a_way_without_it(program: Program) -> None:
    assert set(missing_programs(RUN_PROGRAMS, is_git_optional=True)) == {"nginx", "redis-server"}


@pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"])
def test_any_chrome_does_for_the_tests(name: str, program: Program) -> None:
    browser = program(name, "")
    assert find("chromium") == str(browser)
    assert "chromium" not in missing_programs(TEST_PROGRAMS, is_git_optional=True)


def test_without_root_everything_needed_runs_without_git(program: Program, step: Step) -> None:
    # Without apt nobody may install anything, root or not.
    program("nginx", "")
    program("redis-server", "")
    install(step, RUN_PROGRAMS)


def test_a_system_without_a_browser_package_says_what_to_install(
    program: Program, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    program("apt-cache", "echo 'N: Unable to locate package'")
    program("apt-get", "echo 'E: Some index files failed to download'; exit 100")
    program("dpkg", "")
    with pytest.raises(SetupError, match="any Chrome or Chromium") as caught:
        install(step, {"chromium": TEST_PROGRAMS["chromium"]})
    assert "index files" not in str(caught.value)
