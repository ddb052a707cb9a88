from pathlib import Path

from services.last_used import LastUsed
from services.workspace import Workspace
from tests.fakes.faulty_volume import MountedVolume
from tests.services.at_once import run_twice_at_once


def test_what_was_marked_is_known_to_others_too(workspace: Workspace) -> None:
    LastUsed(workspace).mark(["a", "b"], 5.0)
    LastUsed(workspace).mark(["b"], 9.0)
    assert LastUsed(workspace).all() == {"a": 5.0, "b": 9.0}


def test_a_broken_file_is_as_none(workspace: Workspace) -> None:
    (workspace.config / "last_used.json").write_text("{]")
    used = LastUsed(workspace)
    assert used.all() == {}
    used.mark(["a"], 5.0)
    assert used.all() == {"a": 5.0}


def test_a_volume_without_the_file_has_no_uses(tmp_path: Path) -> None:
    assert LastUsed(Workspace(tmp_path)).all() == {}


def test_a_full_volume_forgets_it(faulty_volume: MountedVolume) -> None:
    workspace = Workspace(faulty_volume.root)
    workspace.config.mkdir()
    used = LastUsed(workspace)
    faulty_volume.fault("full")
    used.mark(["a"], 5.0)
    assert used.all() == {}


MARK_30 = """
import sys
from pathlib import Path
from services.last_used import LastUsed
from services.workspace import Workspace

used, name = LastUsed(Workspace(Path(sys.argv[1]))), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for number in range(30):
    used.mark([f"{name}{number}"], number)
"""


def test_processes_that_mark_at_once_lose_nothing(workspace: Workspace) -> None:
    run_twice_at_once(MARK_30, workspace)
    assert len(LastUsed(workspace).all()) == 60
