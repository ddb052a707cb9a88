"""What `preset-manager` shows: presets, plans, how they stand; and how it ends."""

import fcntl
import os
import pty
import pwd
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.catalogue import load_catalogue
from services.settings import APP_DIR
from services.uploads import UploadBook, Wish
from services.workspace import Workspace
from tests.fakes.model_host import HuggingFace, ModelHost
from tests.running import ROOT
from tests.tools.conftest import Manager
from tools.preset_manager.__main__ import COMMANDS
from tools.preset_manager.endings import Ending


def in_terminal(manager: Manager, columns: int, *arguments: str, types: str = "") -> list[str]:
    """The lines that someone sees who `types` something, without what colours them."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = manager.start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, types.encode())
    pieces = []
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            # What the kernel says of a terminal whose last user is gone.
            break
        pieces.append(piece)
    os.close(ours)
    process.wait()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(pieces).decode())
    # Bars are drawn over one another.
    return re.split(r"[\r\n]+", text)


def test_every_preset_is_listed(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("MINE", small)
    listed = manager.run("list", "--json").document["presets"]
    known = load_catalogue(APP_DIR / "presets", manager.workspace)
    assert {entry["id"] for entry in listed} == set(known.presets)
    assert "MINE" in known.presets


def test_a_terminal_obeys_nothing_that_stands_in_a_name(manager: Manager, small: dict[str, Any]) -> None:
    # Clears the screen, turns the line around, rings.
    manager.add("MINE", small, name="odd \x1b[2Jname\u202e", description="and \x07about it")
    workflow = manager.workspace.user / "default" / "workflows" / "\x1b[2J.json"
    workflow.parent.mkdir(parents=True)
    workflow.write_text('{"nodes": [{"widgets_values": ["small.ckpt"]}]}')
    model = manager.model("vae", "small.ckpt")
    model.parent.mkdir(parents=True, exist_ok=True)
    model.write_bytes(bytes(50_000))
    for command in (["list", "odd"], ["show", "MINE"], ["plan", "MINE"], ["uninstall", "MINE", "--dry-run"]):
        done = manager.run(*command)
        assert "odd [2Jname" in done.out or command[0] == "uninstall", done
        assert not re.search(r"[\x07\x1b\u202e]", done.out + done.err)
    assert not [line for line in in_terminal(manager, 200, "show", "MINE") if re.search(r"[\x07\u202e]", line)]


def test_words_narrow_the_list(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("ONE", small, name="Red thing", tags=["warm"])
    manager.add("TWO", small, name="Red thing")
    found = manager.run("list", "--json", "RED", "warm").document["presets"]
    assert [entry["id"] for entry in found] == ["ONE"]


def test_a_kind_narrows_the_list(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("SOUND", small, kind="audio")
    kinds = {entry["kind"] for entry in manager.run("list", "--json", "--kind", "audio").document["presets"]}
    assert kinds == {"audio"}


def test_only_what_is_installed_is_listed_if_asked_for(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("MINE", small)
    assert manager.run("list", "--json", "--installed").document["presets"] == []
    manager.run("install", "MINE")
    assert [entry["id"] for entry in manager.run("list", "--json", "--installed").document["presets"]] == ["MINE"]


def test_nothing_of_the_list_is_cut_in_a_pipe(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("M" * 100, small, name="N" * 200)
    line = next(line for line in manager.run("list").out.splitlines() if line.startswith("M" * 100))
    assert "N" * 200 in line


@pytest.mark.parametrize("columns", [80, 120])
def test_the_list_fits_into_a_terminal_with_every_id_whole(manager: Manager, columns: int) -> None:
    lines = in_terminal(manager, columns, "list")
    assert max(map(len, lines)) <= columns
    shown = {line.split(" ")[0] for line in lines}
    assert set(load_catalogue(APP_DIR / "presets", manager.workspace).presets) <= shown


@pytest.mark.parametrize("columns", [80, 120])
def test_bars_fit_into_a_terminal(manager: Manager, model_host: ModelHost, columns: int) -> None:
    url = model_host.add("/slow", bytes(300_000), throttle=200_000)
    manager.add("MINE", {"url": url, "folder": "vae", "name": f"{'long' * 30}.ckpt"})
    lines = in_terminal(manager, columns, "install", "--yes", "MINE")
    bars = [line for line in lines if "0 of 1 file" in line]
    assert bars
    assert max(map(len, bars)) <= columns
    assert "Mine is installed" in lines


@pytest.mark.parametrize(("answer", "goes"), [("n", False), ("", False), ("y", True)])
def test_whoever_sits_there_is_asked(manager: Manager, small: dict[str, Any], answer: str, goes: bool) -> None:
    manager.add("MINE", small)
    assert "Fetch 50.0 kB for Mine?" in "".join(in_terminal(manager, 80, "install", "MINE", types="y\n"))
    assert "Uninstall MINE?" in "".join(in_terminal(manager, 80, "uninstall", "MINE", types=f"{answer}\n"))
    assert manager.model("vae", "small.ckpt").exists() is not goes


def test_what_left_the_catalogue_can_still_be_looked_at_and_uninstalled(
    manager: Manager, small: dict[str, Any]
) -> None:
    manager.add("MINE", small)
    manager.run("install", "MINE")
    manager.workspace.user_presets_file.unlink()
    assert manager.run("show", "--json", "MINE").document["status"]["state"] == "installed"
    assert manager.run("uninstall", "--yes", "MINE").code == 0
    assert not manager.model("vae", "small.ckpt").exists()


def test_the_list_needs_neither_a_queue_nor_an_http_client() -> None:
    code = "import sys, tools.preset_manager.__main__, tools.preset_manager.listing; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"redis", "rq", "httpx", "services.downloads", "services.resolver"} & set(loaded.split())


def test_a_preset_is_shown_with_its_files(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("MINE", small, description="What it is for.", licence="MIT")
    shown = manager.run("show", "MINE").out
    assert all(text in shown for text in ("What it is for.", "MIT", "vae", "small.ckpt", "missing"))
    assert "%" not in shown
    detail = manager.run("show", "MINE", "--json").document
    assert detail["preset"]["files"][0]["url"] == small["url"]
    assert detail["status"]["state"] == "available"


def test_an_unknown_preset_ends_with_3_and_what_may_be_meant(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("SOMETHING", small)
    for command in ("show", "plan", "install", "uninstall", "status"):
        done = manager.run(command, "something_")
        assert (done.code, done.out) == (3, "")
        assert "did you mean SOMETHING?" in done.err


def test_an_error_is_a_document_too(manager: Manager) -> None:
    done = manager.run("show", "--json", "NOTHING_LIKE_IT")
    assert done.document["error"]["type"] == "not_found"
    assert done.document["error"]["message"] in done.err


@pytest.mark.parametrize("arguments", [[], ["lst"], ["install"], ["list", "--kind", "smell"]])
def test_wrong_arguments_end_with_2(manager: Manager, arguments: list[str]) -> None:
    done = manager.run(*arguments)
    assert done.code == 2
    assert "usage: preset-manager" in done.err


def test_wrong_settings_end_with_2_and_are_named(manager: Manager) -> None:
    manager.environment["DOWNLOAD_WORKERS"] = "many"
    done = manager.run("list")
    assert done.code == 2
    assert "DOWNLOAD_WORKERS" in done.err


def test_help_names_every_exit_code(manager: Manager) -> None:
    done = manager.run("--help")
    assert done.code == 0
    for code in (0, 1, 2, 3, 4, 5, 130):
        assert re.search(rf"^ +{code}  \w", done.out, re.MULTILINE)


def test_the_document_has_every_exit_code_and_command() -> None:
    text = (ROOT / "docs" / "preset-manager.md").read_text()
    assert re.findall(r"^\| (\d+) \|", text, re.MULTILINE) == [str(int(ending)) for ending in Ending]
    assert all(f"preset-manager {command}" in text for command in COMMANDS)


def test_whoever_reads_may_stop_reading(manager: Manager) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = manager.start("list", stdout=writer)
    os.close(writer)
    done = manager.end(process)
    assert (done.code, done.err) == (0, "")


def test_a_plan_has_the_sizes_that_only_the_host_knows(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("MINE", small)
    done = manager.run("plan", "--json", "MINE")
    assert done.code == 0
    (plan,) = done.document["plans"]
    assert (plan["fetch_bytes"], plan["unknown_sizes"], plan["fits"]) == (50_000, 0, True)
    assert manager.run("show", "--json", "MINE").document["status"]["bytes_total"] == 50_000


def test_presets_that_share_a_file_are_planned_as_one(
    manager: Manager, model_host: ModelHost, small: dict[str, Any]
) -> None:
    other = {"url": model_host.add("/other", bytes(1000)), "folder": "loras", "name": "other.ckpt"}
    manager.add("ONE", small)
    manager.add("TWO", small, other)
    document = manager.run("plan", "--json", "ONE", "TWO").document
    assert [plan["fetch_bytes"] for plan in document["plans"]] == [50_000, 51_000]
    assert document["together"]["fetch_bytes"] == 51_000


def test_a_plan_that_does_not_fit_ends_with_4(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("HUGE", {**small, "size_bytes": 10**15})
    done = manager.run("plan", "HUGE")
    assert done.code == 4
    assert "does not fit" in done.out


def test_what_is_still_to_be_uploaded_takes_room(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("MINE", small)
    book = UploadBook(manager.workspace, Path("/nonexistent"), 0)
    book.begin(Wish("vae", "sent.ckpt", 1000), (), 0)
    (plan,) = manager.run("plan", "MINE", "--json").document["plans"]
    assert plan["promised_bytes"] == 1000


def test_a_gated_file_is_explained_and_ends_with_5(manager: Manager, model_host: ModelHost) -> None:
    hub = HuggingFace(model_host)
    manager.environment["HF_ENDPOINT"] = model_host.url("")
    hub.add("owner/model", "a.ckpt", bytes(100), gated=True)
    address = "https://huggingface.co/owner/model/resolve/main/a.ckpt"
    manager.add("GATED", {"url": address, "folder": "checkpoints", "name": "a.ckpt"})
    done = manager.run("plan", "GATED")
    assert done.code == 5
    assert "https://huggingface.co/owner/model" in done.out
    assert "HF_TOKEN" in done.out


def test_files_of_one_gated_repository_share_a_line_and_its_remedy(manager: Manager, model_host: ModelHost) -> None:
    hub = HuggingFace(model_host)
    manager.environment["HF_ENDPOINT"] = model_host.url("")
    files = []
    for name in ("a.ckpt", "b.ckpt"):
        hub.add("owner/model", name, bytes(100), gated=True)
        address = f"https://huggingface.co/owner/model/resolve/main/{name}"
        files.append({"url": address, "folder": "checkpoints", "name": name})
    manager.add("GATED", *files)
    done = manager.run("install", "GATED", "--yes")
    assert done.code == 5
    assert done.err.count("is gated") == 1
    assert "a.ckpt and 1 more: owner/model" in done.err
    assert done.err.count("or save a token") == 1


def test_a_workspace_that_does_not_exist_is_an_error(manager: Manager) -> None:
    manager.workspace = Workspace(Path("/nonexistent/volume"))
    done = manager.run("list", "--installed")
    assert (done.code, done.out) == (1, "")
    assert "WORKSPACE /nonexistent/volume does not exist" in done.err


def test_what_was_asked_for_and_removed_is_in_the_log(manager: Manager, small: dict[str, Any]) -> None:
    manager.add("MINE", small)
    manager.run("install", "MINE")
    manager.run("uninstall", "MINE", "--yes")
    lines = (manager.workspace.logs / "downloads.log").read_text(encoding="utf-8").splitlines()
    entries = {entry["event"]: entry for entry in map(msgspec.json.decode, lines)}
    assert entries["install_requested"]["fetch"] == ["vae/small.ckpt"]
    assert entries["preset_uninstalled"]["removed"] == ["vae/small.ckpt"]
    assert entries["preset_uninstalled"]["freed_bytes"] == 50_000


def test_a_file_that_is_gone_ends_with_5(manager: Manager, model_host: ModelHost) -> None:
    manager.add("GONE", {"url": model_host.url("/gone"), "folder": "checkpoints", "name": "gone.ckpt"})
    done = manager.run("plan", "GONE")
    assert done.code == 5
    assert "no such file" in done.out


def test_what_a_plan_locked_is_asked_again_only_if_told_to(
    manager: Manager, model_host: ModelHost, small: dict[str, Any]
) -> None:
    manager.add("MINE", small)
    manager.run("plan", "MINE")
    model_host.add("/small", bytes(60_000))
    assert manager.run("plan", "--json", "MINE").document["plans"][0]["fetch_bytes"] == 50_000
    assert manager.run("plan", "--json", "--refresh", "MINE").document["plans"][0]["fetch_bytes"] == 60_000


def test_nothing_is_under_way_at_first(manager: Manager) -> None:
    assert "Nothing is under way" in manager.run("status").out
    assert manager.run("status", "--json").document == {"installs": [], "running": False, "paused": False}


def test_the_command_finds_its_python_from_anywhere(manager: Manager, tmp_path: Any) -> None:
    link = tmp_path / "preset-manager"
    link.symlink_to(ROOT / "tools" / "preset-manager")
    environment = {
        "PATH": os.environ["PATH"],
        "WORKSPACE": str(manager.workspace.root),
        "SUITE_USER": pwd.getpwuid(os.geteuid()).pw_name,
    }
    done = subprocess.run([link, "list", "--json"], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
