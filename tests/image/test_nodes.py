"""The custom node packs, fetched by the real git from repositories that stand here in GitHub's place."""

import datetime
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from image import nodes
from image.nodes import BadList, BadPack, NodeList, NotLoaded, Pack, Submodule
from services.settings import APP_DIR

GITHUB = "https://github.com/"
NOWHERE = "1" * 40
LIST = nodes.load()
LOCKS = {variant: APP_DIR / "image" / f"custom-nodes-{variant}.lock" for variant in nodes.VARIANTS}


@dataclass(frozen=True)
class GitHub:
    """Repositories below a folder, which git takes for github.com."""

    folder: Path

    def push(self, name: str, **files: str) -> str:
        """A commit of the repository, which is made when there is none; the commit's name."""
        repository = self.folder / name
        repository.mkdir(parents=True, exist_ok=True)
        self.git(name, "init", "--quiet")
        for file, text in files.items():
            (repository / file).write_text(text, encoding="utf-8")
        return self.commit(name)

    def add_submodule(self, name: str, path: str, submodule: str) -> str:
        self.git(name, "submodule", "--quiet", "add", GITHUB + submodule, path)
        return self.commit(name)

    def commit(self, name: str) -> str:
        self.git(name, "add", "--all")
        self.git(name, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "one more")
        return self.git(name, "rev-parse", "HEAD").strip()

    def git(self, name: str, *arguments: str) -> str:
        command = ["git", "-C", str(self.folder / name), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def git_config(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Git's configuration for this test alone, as pairs of name and value."""

    def configure(*pairs: tuple[str, str]) -> None:
        monkeypatch.setenv("GIT_CONFIG_COUNT", str(len(pairs)))
        for number, (name, value) in enumerate(pairs):
            monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", name)
            monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)

    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    return configure


@pytest.fixture
def github(tmp_path: Path, git_config: Callable[..., None]) -> GitHub:
    folder = tmp_path / "github"
    git_config((f"url.file://{folder}/.insteadOf", GITHUB), ("protocol.file.allow", "always"))
    return GitHub(folder)


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "custom_nodes"
    folder.mkdir()
    return folder


@pytest.fixture
def silent_address() -> Iterator[tuple[str, list[int]]]:
    """A server that takes connections and never says a word; and how many it took."""
    taken: list[socket.socket] = []
    count: list[int] = []

    def accept() -> None:
        while True:
            try:
                taken.append(server.accept()[0])
            except OSError:
                return
            count.append(1)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept)
        thread.start()
        yield f"git://127.0.0.1:{server.getsockname()[1]}/", count
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in taken:
        connection.close()


def a_pack(commit: str = NOWHERE, name: str = "a-pack") -> Pack:
    return Pack(
        name=name,
        repository=f"{GITHUB}owner/{name}",
        commit=commit,
        date=datetime.date(2026, 1, 2),
        licence="MIT",
        variant="standard",
        reason="It is needed.",
    )


def a_submodule(commit: str) -> Submodule:
    return Submodule(repository=f"{GITHUB}other/library", commit=commit, licence="MIT", path="parts")


def list_file(folder: Path, *packs: Pack, **changes: str) -> Path:
    """A list of these packs; `changes` are fields as they are written there, empty to leave one out."""
    path = folder / "custom-nodes.toml"
    text = ""
    for pack in packs:
        names = ("name", "repository", "commit", "licence", "variant", "reason")
        lines = {name: json.dumps(getattr(pack, name)) for name in names} | {"date": str(pack.date)}
        fields = [f"{name} = {value}" for name, value in (lines | changes).items() if value]
        text += "\n".join(["[[pack]]", *fields, ""])
    path.write_text(text, encoding="utf-8")
    return path


def run_program(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program as the Dockerfile runs it, on the list of this folder: no package, no checkout."""
    program = shutil.copy(APP_DIR / "image" / "nodes.py", folder)
    command = [sys.executable, "-I", "-S", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_pack_comes_at_its_commit_and_not_at_the_newest(github: GitHub, into: Path) -> None:
    commit = github.push("owner/a-pack", **{"__init__.py": "old"})
    github.push("owner/a-pack", **{"__init__.py": "new"})
    nodes.clone_pack(a_pack(commit), into / "a-pack")
    assert (into / "a-pack" / "__init__.py").read_text() == "old"


def test_nothing_of_git_stays(github: GitHub, into: Path) -> None:
    nodes.clone_pack(a_pack(github.push("owner/a-pack", **{"__init__.py": ""})), into / "a-pack")
    assert [path.name for path in (into / "a-pack").iterdir()] == ["__init__.py"]


def test_a_commit_that_is_not_there_is_said_in_one_line(github: GitHub, into: Path) -> None:
    github.push("owner/a-pack", **{"__init__.py": ""})
    with pytest.raises(BadPack, match=rf"^a-pack: {NOWHERE} of \S+ did not come: .+$"):
        nodes.clone_pack(a_pack(NOWHERE), into / "a-pack")


def test_a_branch_in_place_of_a_commit_is_not_taken(github: GitHub, into: Path) -> None:
    commit = github.push("owner/a-pack", **{"__init__.py": ""})
    branch = github.git("owner/a-pack", "symbolic-ref", "--short", "HEAD").strip()
    with pytest.raises(BadPack, match=f"asked for {branch} and got {commit}"):
        nodes.clone_pack(a_pack(branch), into / "a-pack")


def test_a_host_that_cannot_be_reached_is_said_in_one_line(git_config: Callable[..., None], into: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    git_config((f"url.git://127.0.0.1:{port}/.insteadOf", GITHUB))
    with pytest.raises(BadPack, match=r"^a-pack: .* did not come: .+$"):
        nodes.clone_pack(a_pack(), into / "a-pack")


def test_a_server_that_says_nothing_is_asked_once_more(
    git_config: Callable[..., None], silent_address: tuple[str, list[int]], into: Path
) -> None:
    address, count = silent_address
    git_config((f"url.{address}.insteadOf", GITHUB))
    with pytest.raises(BadPack, match="did not come: nothing for 1 s"):
        nodes.clone_pack(a_pack(), into / "a-pack", timeout_seconds=1)
    assert len(count) == 2


def test_a_folder_that_is_there_already_is_not_written_into(into: Path) -> None:
    (into / "a-pack").mkdir()
    with pytest.raises(BadPack, match="is there already"):
        nodes.clone_pack(a_pack(), into / "a-pack")


def test_a_submodule_comes_at_its_commit(github: GitHub, into: Path) -> None:
    commit = github.push("other/library", **{"library.py": "here"})
    github.push("owner/a-pack", **{"__init__.py": ""})
    pack = a_pack(github.add_submodule("owner/a-pack", "parts", "other/library"))
    nodes.clone_pack(replace(pack, submodules=(a_submodule(commit),)), into / "a-pack")
    assert (into / "a-pack" / "parts" / "library.py").read_text() == "here"
    assert not list(into.rglob(".git"))


def test_a_submodule_that_is_not_listed_stays_away(github: GitHub, into: Path) -> None:
    github.push("other/library", **{"library.py": ""})
    github.push("owner/a-pack", **{"__init__.py": ""})
    nodes.clone_pack(a_pack(github.add_submodule("owner/a-pack", "parts", "other/library")), into / "a-pack")
    assert list((into / "a-pack" / "parts").iterdir()) == []


def test_a_submodule_that_the_pack_wants_at_another_commit_is_refused(github: GitHub, into: Path) -> None:
    github.push("other/library", **{"library.py": ""})
    github.push("owner/a-pack", **{"__init__.py": ""})
    pack = a_pack(github.add_submodule("owner/a-pack", "parts", "other/library"))
    with pytest.raises(BadPack, match=f"^a-pack: parts is not pinned to {NOWHERE} by the commit itself$"):
        nodes.clone_pack(replace(pack, submodules=(a_submodule(NOWHERE),)), into / "a-pack")


def test_what_is_to_be_left_out_is_gone(github: GitHub, into: Path) -> None:
    pack = a_pack(github.push("owner/a-pack", **{"a.ttf": "", "__init__.py": ""}))
    nodes.clone_pack(replace(pack, omit={"a.ttf": "no licence"}), into / "a-pack")
    assert [path.name for path in (into / "a-pack").iterdir()] == ["__init__.py"]


def test_a_file_to_leave_out_that_is_no_longer_there_is_said(github: GitHub, into: Path) -> None:
    pack = replace(a_pack(github.push("owner/a-pack", **{"a.py": ""})), omit={"a.ttf": "no licence"})
    with pytest.raises(BadPack, match=r"a\.ttf"):
        nodes.clone_pack(pack, into / "a-pack")


def test_a_requirement_of_which_the_list_says_nothing_is_said(github: GitHub, into: Path) -> None:
    files = {"requirements.txt": "numba\n# a word\nrembg>=2  # why\nwget\n"}
    pack = replace(a_pack(github.push("owner/a-pack", **files)), requirements_file="requirements.txt")
    with pytest.raises(BadPack, match="its requirements have wget, of which"):
        nodes.clone_pack(replace(pack, requirements=("numba",), without={"rembg": "why"}), into / "a-pack")


def test_the_program_brings_the_packs_of_one_variant_alone(github: GitHub, into: Path, tmp_path: Path) -> None:
    first = a_pack(github.push("owner/first", **{"__init__.py": ""}), "first")
    second = replace(a_pack(github.push("owner/second", **{"__init__.py": ""}), "second"), variant="full")
    list_file(tmp_path, first, second)
    done = run_program(tmp_path, "clone", "--variant", "full", "--into", str(into))
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in into.iterdir()) == ["custom-nodes-full.json", "second"]
    assert [pack["commit"] for pack in json.loads((into / "custom-nodes-full.json").read_text())] == [second.commit]


def test_each_pack_that_fails_has_a_line_and_there_is_no_traceback(github: GitHub, into: Path, tmp_path: Path) -> None:
    github.push("owner/first", **{"__init__.py": ""})
    list_file(tmp_path, a_pack(name="first"), a_pack(name="second"))
    done = run_program(tmp_path, "clone", "--variant", "standard", "--into", str(into))
    assert done.returncode == 1
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["first", "second"]


def test_the_same_requirement_of_two_packs_is_named_once() -> None:
    packs = tuple(replace(a_pack(name=name), requirements=("numba", "gguf >= 0.13.0")) for name in ("first", "second"))
    assert nodes.requirements(NodeList(packs, ()), "standard") == ["gguf>=0.13.0", "numba"]


def test_of_packages_that_exclude_one_another_one_is_required_and_the_others_are_excluded() -> None:
    pack = replace(a_pack(), requirements=("opencv-python>=4", "opencv-python-headless"))
    instead = nodes.Instead(("opencv-python", "opencv-python-headless"), "opencv-contrib-python-headless", "It is all.")
    listed = NodeList((pack,), (instead,))
    assert nodes.requirements(listed, "standard") == ["opencv-contrib-python-headless"]
    assert set(instead.asked) <= set(nodes.excludes(listed))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"commit": '"main"'}, "'main' is no commit"),
        ({"commit": '"ABCDEF0123456789ABCDEF0123456789ABCDEF01"'}, "is no commit"),
        ({"repository": '"http://github.com/owner/a-pack"'}, "is no https://github.com/OWNER/NAME"),
        ({"repository": '"https://github.com.example/owner/a-pack"'}, "is no https://github.com/OWNER/NAME"),
        ({"repository": '"https://user@github.com/owner/a-pack"'}, "is no https://github.com/OWNER/NAME"),
        ({"licence": '"free"'}, "'free' is no open licence"),
        ({"licence": ""}, "licence"),
        ({"variant": '"dev"'}, "the variant is one of standard, full, not 'dev'"),
        ({"reason": '""'}, "the reason must be a sentence"),
        ({"date": '"2026-01-02"'}, "is no date"),
        ({"name": '"../up"'}, "the name must be a folder's"),
        ({"requirements": '["--index-url=x"]'}, "is no requirement"),
        ({"requirements": '["torch @ https://example.com/torch.whl"]'}, "is no requirement"),
        ({"requirements": '["numba"]'}, "requirements come from a 'requirements_file'"),
        ({"omit": '{"/etc/passwd" = "why"}'}, "leads out of the pack"),
        ({"omit": '{"../b" = "why"}'}, "leads out of the pack"),
        ({"omit": '{"b" = ""}'}, "why is 'b' left out?"),
        ({"licens": '"MIT"'}, "licens"),
    ],
)
def test_a_wrong_field_is_refused_by_name(tmp_path: Path, changes: dict[str, str], said: str) -> None:
    with pytest.raises(BadList, match=re.escape(said)):
        nodes.load(list_file(tmp_path, a_pack(), **changes))


def test_all_mistakes_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadList) as caught:
        nodes.load(list_file(tmp_path, a_pack(), commit='"main"', licence='"free"'))
    assert len(str(caught.value).splitlines()) == 2


def test_a_name_that_is_there_twice_is_refused_whatever_its_case(tmp_path: Path) -> None:
    with pytest.raises(BadList, match="pack 'a-pack' is there twice"):
        nodes.load(list_file(tmp_path, a_pack(), a_pack(name="A-Pack")))


def test_a_list_that_is_not_toml_is_said(tmp_path: Path) -> None:
    (tmp_path / "custom-nodes.toml").write_text("[[pack", encoding="utf-8")
    with pytest.raises(BadList, match=r"^custom-nodes\.toml cannot be read: "):
        nodes.load(tmp_path / "custom-nodes.toml")


def test_a_pack_that_comfyui_could_not_load_is_named() -> None:
    said = "   0.1 seconds: /custom_nodes/first\n   0.2 seconds (IMPORT FAILED): /custom_nodes/second\n"
    with pytest.raises(NotLoaded, match=r"^second: "):
        nodes.check_loaded(LIST, said)


def test_a_pack_that_needs_a_gpu_may_fail_without_one() -> None:
    packs = NodeList((replace(a_pack(), needs_gpu=True),), ())
    nodes.check_loaded(packs, "   0.2 seconds (IMPORT FAILED): /custom_nodes/a-pack\n")


@pytest.mark.parametrize("variant", nodes.VARIANTS)
def test_every_variant_has_packs(variant: str) -> None:
    assert LIST.of(variant)


@pytest.mark.parametrize("pack", LIST.packs, ids=lambda pack: pack.name)
def test_every_pack_is_documented_with_its_licence(pack: Pack) -> None:
    text = (APP_DIR / "docs" / "custom-nodes.md").read_text(encoding="utf-8")
    assert f"| [{pack.name}]({pack.repository}) | {pack.licence} |" in text


def test_every_documented_pack_is_listed() -> None:
    text = (APP_DIR / "docs" / "custom-nodes.md").read_text(encoding="utf-8").split("## Left out")[0]
    assert set(re.findall(r"^\| \[([^]]+)\]\(", text, re.MULTILINE)) == {pack.name for pack in LIST.packs}


@pytest.mark.parametrize("variant", nodes.VARIANTS)
def test_the_locks_hold_what_the_packs_ask_for(variant: str) -> None:
    asked = {canonical(re.split(r"[<>=!~\[]", line)[0]) for line in nodes.requirements(LIST, variant)}
    held = {name for lock in ("comfyui.lock", *(path.name for path in LOCKS.values())) for name in locked(lock)}
    assert asked - held <= {"torch", "torchvision", "torchaudio"}


@pytest.mark.parametrize("variant", nodes.VARIANTS)
def test_the_lock_leaves_torch_and_every_other_opencv_alone(variant: str) -> None:
    names = set(locked(LOCKS[variant].name))
    assert not [name for name in names if name.startswith(("torch", "triton")) or re.match(r"nvidia-(?!ml-py)", name)]
    assert {name for name in names if name.startswith("opencv")} <= {"opencv-contrib-python-headless"}


@pytest.mark.parametrize("before", ["comfyui.lock", "custom-nodes-standard.lock"])
@pytest.mark.parametrize("variant", nodes.VARIANTS)
def test_the_lock_changes_no_version_that_is_installed_before(variant: str, before: str) -> None:
    there = locked(before)
    assert {name: pins for name, pins in locked(LOCKS[variant].name).items() if there.get(name, pins) != pins} == {}


@pytest.mark.parametrize("variant", nodes.VARIANTS)
def test_every_locked_package_has_hashes_and_no_address(variant: str) -> None:
    text = LOCKS[variant].read_text(encoding="utf-8")
    assert "://" not in text
    assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=\S)", text) if "==" in entry)


def test_no_stand_in_has_the_name_of_a_pack() -> None:
    stand_ins = {path.name for path in (APP_DIR / "tests" / "fakes").glob("nodes-*/*")}
    assert stand_ins.isdisjoint(pack.name for pack in LIST.packs)


def locked(lock: str) -> dict[str, set[str]]:
    """Package -> its versions; more than one where they differ by Python."""
    pins: dict[str, set[str]] = {}
    text = (APP_DIR / "image" / lock).read_text(encoding="utf-8")
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)", text, re.MULTILINE):
        pins.setdefault(canonical(name), set()).add(version)
    return pins


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
