import os
import time

import pytest
from msgspec.structs import replace

from services.errors import InvalidName, NotFound
from services.runs import Content, Run, RunRecord, RunRecords, RunState, records
from services.workspace import Workspace

CONTENT = Content({"1": {"class_type": "EmptyImage", "inputs": {}}}, {"nodes": [], "links": []})


def record(prompt_id: str, state: RunState = "success", pod: str = "ours", at: float = 1.0) -> RunRecord:
    return RunRecord(Run(prompt_id, "A title", state, 1, submitted_at=at), pod, 100.0, "shape", {"1": 2.0})


@pytest.fixture
def ours(workspace: Workspace) -> RunRecords:
    return RunRecords(workspace, "ours")


@pytest.fixture
def theirs(workspace: Workspace) -> RunRecords:
    return RunRecords(workspace, "theirs")


def put(into: RunRecords, *kept: RunRecord) -> None:
    for one in kept:
        into.put(one, records.encode(CONTENT))


def test_what_was_put_is_there_the_oldest_first(ours: RunRecords) -> None:
    put(ours, record("b", at=2.0), record("a", at=1.0))
    assert ours.all() == [record("a", at=1.0), record("b", at=2.0)]
    assert ours.content("a") == CONTENT


def test_a_record_is_written_again_without_its_prompt(ours: RunRecords) -> None:
    put(ours, record("a", "running"))
    ours.put(record("a"), None)
    assert ours.all() == [record("a")]
    assert ours.content("a") == CONTENT


def test_nobody_else_reads_them(ours: RunRecords, workspace: Workspace) -> None:
    put(ours, record("a"))
    files = [file for file in (workspace.config / "runs").rglob("*") if file.is_file()]
    assert {file.stat().st_mode & 0o077 for file in files} == {0}


@pytest.mark.parametrize("name", ["a", "../a", "", "a/b"])
def test_what_was_not_kept_is_not_found(name: str, ours: RunRecords) -> None:
    with pytest.raises(NotFound):
        ours.content(name)


def test_a_name_that_leads_elsewhere_is_refused(ours: RunRecords) -> None:
    with pytest.raises(InvalidName):
        ours.put(record("../../a"), None)


def test_what_nobody_can_read_does_not_stop_the_others(ours: RunRecords, workspace: Workspace) -> None:
    put(ours, record("a"))
    (workspace.config / "runs" / "bad.json").write_bytes(b"{")
    (workspace.config / "runs" / "prompts" / "a.json").write_bytes(b"[1")
    assert ours.all() == [record("a")]
    with pytest.raises(NotFound):
        ours.content("a")


def test_a_large_graph_is_left_out_and_a_large_prompt_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_CONTENT_BYTES", 200)
    assert records.encode(Content(CONTENT.prompt, {"nodes": ["x" * 200]})) == records.encode(Content(CONTENT.prompt))
    assert records.encode(Content({"1": {"class_type": "x" * 200, "inputs": {}}})) is None


def test_the_newest_are_kept_and_what_is_not_over(ours: RunRecords) -> None:
    put(ours, record("waiting", "pending", at=0.5), *(record(f"r{number}", at=float(number)) for number in range(1, 6)))
    assert ours.trim(keep=2) == 3
    assert [kept.run.prompt_id for kept in ours.all()] == ["waiting", "r4", "r5"]
    with pytest.raises(NotFound):
        ours.content("r1")


def test_what_runs_on_another_pod_that_lives_runs(ours: RunRecords, theirs: RunRecords) -> None:
    theirs.beat()
    put(theirs, record("a", "running", pod="theirs"))
    assert ours.all() == [record("a", "running", pod="theirs")]


def test_what_ran_on_a_pod_that_is_gone_is_lost(ours: RunRecords, theirs: RunRecords, workspace: Workspace) -> None:
    theirs.beat()
    long_ago = time.time() - records.STALE_SECONDS - 60
    os.utime(workspace.config / "runs" / "theirs.pod", (long_ago, long_ago))
    put(theirs, record("a", "running", pod="theirs"), record("b", "success", pod="theirs", at=2.0))
    lost, over = ours.all()
    assert (lost.run.state, lost.run.error) == ("lost", "the machine that ran this is gone")
    assert over == record("b", "success", pod="theirs", at=2.0)
    # It may only have slept.
    assert [kept.run.state for kept in theirs.all()] == ["running", "success"]


def test_what_ran_on_a_pod_that_never_said_that_it_lives_is_lost(ours: RunRecords, theirs: RunRecords) -> None:
    put(theirs, record("a", "pending", pod="theirs"))
    assert ours.all()[0].run.state == "lost"


def test_our_own_is_not_lost(ours: RunRecords) -> None:
    kept = record("a", "running")
    put(ours, kept)
    assert ours.all() == [replace(kept)]
