import time

import pytest
from msgspec.structs import replace

from services import installs, journal
from services.artifacts import Artifact
from services.errors import DownloadFailed, NotEnoughSpace
from services.installs import Hold, Install, Installs, View, Wanted
from services.journal import Journal
from services.presets import Preset
from services.schedule import Schedule, ScheduleRecords
from services.workspace import Workspace
from tests.fakes.faulty_volume import MountedVolume
from tests.services.views import (
    CANCELLED,
    FAILED,
    NO_ROOM,
    PAUSED,
    RETRIED,
    UNSIZED,
    A,
    B,
    C,
    here,
    install,
    live,
    preset,
    view,
)


@pytest.fixture
def records(workspace: Workspace) -> Installs:
    return Installs(workspace)


def keep_partial(workspace: Workspace, artifact: Artifact, done: int) -> None:
    """As a download that was stopped leaves it."""
    target = workspace.model_file(artifact.folder, artifact.name)
    journal.part_file(target).write_bytes(bytes(done + 10))
    journal.save(target, Journal(artifact.url, artifact.size_bytes, "x", ((0, done),)))


# What was asked for


def test_asking_for_a_preset_is_recorded(records: Installs, workspace: Workspace) -> None:
    assert records.request(preset("P", A, B)) is False
    (known,) = Installs(workspace).all().values()
    assert (known.preset_id, known.files, known.completed_at) == ("P", (A, B), None)
    assert known.requested_at == pytest.approx(time.time(), abs=5)


def test_asking_twice_is_asking_once(records: Installs) -> None:
    records.request(preset("P", A))
    before = records.all()
    assert records.request(preset("P", A)) is True
    assert records.all() == before


def test_asking_again_after_completion_starts_anew(records: Installs) -> None:
    records.request(preset("P", A))
    records.complete(records.all()["P"])
    assert records.request(preset("P", A)) is False
    assert records.all()["P"].completed_at is None


def test_asking_again_lets_what_was_held_go(records: Installs) -> None:
    records.request(preset("P", A, B))
    records.cancel_file(A.id)
    records.fail(B.id, DownloadFailed("no such file", permanent=True))
    assert records.request(preset("P", A, B)) is False
    assert records.holds() == {}


def test_asking_on_a_full_volume_changes_nothing(faulty_volume: MountedVolume) -> None:
    workspace = Workspace(faulty_volume.root)
    for folder in workspace.folders(()):
        (workspace.root / folder.path).mkdir()
    records = Installs(workspace)
    records.cancel_file(A.id)
    faulty_volume.fault("full")
    with pytest.raises(NotEnoughSpace):
        records.request(preset("P", A))
    assert set(records.holds()) == {A.id}
    assert records.all() == {}


def test_asking_for_one_preset_leaves_the_holds_of_others(records: Installs) -> None:
    records.cancel_file(B.id)
    records.request(preset("P", A))
    assert set(records.holds()) == {B.id}


def test_a_completed_install_stays_known(records: Installs) -> None:
    records.request(preset("P", A))
    records.complete(records.all()["P"])
    assert records.all()["P"].completed_at == pytest.approx(time.time(), abs=5)


def test_an_install_that_was_removed_meanwhile_is_not_completed(records: Installs) -> None:
    records.request(preset("P", A))
    known = records.all()["P"]
    records.remove(preset("P", A))
    records.complete(known)
    assert records.all() == {}
    assert records.removed() == {"P"}


def test_a_removed_install_is_no_longer_wanted(records: Installs, workspace: Workspace) -> None:
    records.request(preset("P", A))
    records.remove(preset("P", A))
    assert Installs(workspace).all() == {}
    assert Installs(workspace).removed() == {"P"}


def test_a_preset_nobody_asked_for_can_be_removed(records: Installs) -> None:
    records.remove(preset("P", A))
    assert records.removed() == {"P"}


def test_asking_again_after_removal_starts_anew(records: Installs) -> None:
    records.request(preset("P", A))
    records.remove(preset("P", A))
    assert records.request(preset("P", A)) is False
    assert set(records.all()) == {"P"}
    assert records.removed() == frozenset()


def test_a_preset_can_be_removed_from_a_full_volume(faulty_volume: MountedVolume) -> None:
    workspace = Workspace(faulty_volume.root)
    for folder in workspace.folders(()):
        (workspace.root / folder.path).mkdir()
    records = Installs(workspace)
    records.request(preset("P", A))
    faulty_volume.fault("full")
    records.remove(preset("P", A))
    assert Installs(workspace).all() == {}


def test_a_permanent_failure_waits_for_someone(records: Installs) -> None:
    records.fail(A.id, DownloadFailed("no such file", permanent=True))
    assert records.holds()[A.id].until is None


@pytest.mark.parametrize(
    ("error", "reason"), [(DownloadFailed("HTTP 503", permanent=False), "failed"), (NotEnoughSpace("full"), "paused")]
)
def test_any_other_failure_is_tried_again_after_a_minute(
    error: DownloadFailed | NotEnoughSpace, reason: str, records: Installs
) -> None:
    records.fail(A.id, error)
    hold = records.hold(A.id)
    assert hold is not None
    assert (hold.reason, hold.message) == (reason, error.message)
    assert hold.until == pytest.approx(time.time() + 60, abs=5)


@pytest.mark.parametrize("error", [DownloadFailed("HTTP 503", permanent=False), NotEnoughSpace("full")])
def test_a_file_that_someone_stopped_while_it_failed_stays_stopped(
    error: DownloadFailed | NotEnoughSpace, records: Installs
) -> None:
    records.cancel_file(A.id)
    records.pause_file(B.id)
    for file in (A, B):
        records.fail(file.id, error)
    assert [records.holds()[file.id].reason for file in (A, B)] == ["cancelled", "paused"]
    assert all(hold.until is None for hold in records.holds().values())


def test_a_paused_preset_waits_and_goes_on_when_it_is_resumed(records: Installs) -> None:
    records.request(preset("P", A))
    records.pause("P")
    paused = records.all()["P"]
    assert (paused.is_active, paused.is_open) == (False, True)
    records.resume("P")
    resumed = records.all()["P"]
    assert resumed.is_active
    assert resumed.requested_at == paused.requested_at
    assert resumed.asked_at == pytest.approx(time.time(), abs=5)


@pytest.mark.parametrize("action", ["pause", "resume", "retry", "cancel"])
def test_any_action_twice_is_the_action_once(action: str, records: Installs) -> None:
    records.request(preset("P", A, B, C))
    records.fail(A.id, DownloadFailed("no such file", permanent=True))
    records.pause_file(B.id)
    for _ in range(2):
        before = records.all(), records.holds()
        getattr(records, action)("P")
    assert (records.all(), records.holds()) == before


@pytest.mark.parametrize("action", ["pause_file", "resume_file", "retry_file"])
def test_any_action_on_a_file_twice_is_the_action_once(action: str, records: Installs) -> None:
    records.request(preset("P", A, B))
    records.fail(A.id, DownloadFailed("HTTP 503", permanent=False))
    records.pause_file(B.id)
    for file in (A, B):
        getattr(records, action)(file.id)
    before = records.all(), records.holds()
    for file in (A, B):
        getattr(records, action)(file.id)
    assert (records.all(), records.holds()) == before


@pytest.mark.parametrize("action", ["pause", "resume", "retry", "cancel", "forget"])
def test_what_was_never_asked_for_is_left_alone_by_every_action(action: str, records: Installs) -> None:
    records.request(preset("DONE", A))
    records.complete(records.all()["DONE"])
    before = records.all()
    for id_ in ("DONE", "P"):
        getattr(records, action)(id_)
    assert records.all() == before


def test_resuming_a_preset_lets_go_what_someone_stopped_and_not_what_failed(records: Installs) -> None:
    records.request(preset("P", A, B, C))
    records.pause_file(A.id)
    records.cancel_file(B.id)
    records.fail(C.id, DownloadFailed("no such file", permanent=True))
    records.resume("P")
    assert set(records.holds()) == {C.id}


def test_retrying_a_preset_lets_go_what_failed_or_found_no_room_and_not_what_someone_stopped(records: Installs) -> None:
    records.request(preset("P", A, B, C))
    records.pause_file(A.id)
    records.fail(B.id, NotEnoughSpace("full"))
    records.fail(C.id, DownloadFailed("no such file", permanent=True))
    records.retry("P")
    assert set(records.holds()) == {A.id}
    assert records.all()["P"].renewed_at is not None


def test_resuming_a_cancelled_preset_takes_it_up_again(records: Installs) -> None:
    records.request(preset("P", A))
    records.cancel("P")
    records.resume("P")
    assert records.all()["P"].is_active


def test_retrying_a_cancelled_preset_leaves_it_cancelled(records: Installs) -> None:
    records.request(preset("P", A))
    records.cancel("P")
    records.retry("P")
    assert not records.all()["P"].is_open


def test_asking_for_a_paused_preset_resumes_it(records: Installs) -> None:
    records.request(preset("P", A))
    records.pause("P")
    assert records.request(preset("P", A)) is False
    assert records.all()["P"].is_active


def test_cancelling_a_paused_preset_cancels_it(records: Installs) -> None:
    records.request(preset("P", A))
    records.pause("P")
    records.cancel("P")
    assert (records.all()["P"].paused_at, records.all()["P"].is_open) == (None, False)


def test_a_file_that_waits_for_someone_anyway_cannot_be_paused(records: Installs) -> None:
    records.fail(A.id, DownloadFailed("no such file", permanent=True))
    records.cancel_file(B.id)
    for file in (A, B):
        records.pause_file(file.id)
    assert [records.holds()[file.id].reason for file in (A, B)] == ["failed", "cancelled"]


def test_a_file_that_waits_for_room_can_be_paused_for_good(records: Installs) -> None:
    records.fail(A.id, NotEnoughSpace("full"))
    records.pause_file(A.id)
    assert records.holds()[A.id].until is None


def test_retrying_a_file_counts_as_asking_for_every_preset_that_wants_it(records: Installs) -> None:
    for id_ in ("P", "Q"):
        records.request(preset(id_, A))
    records.request(preset("R", B))
    records.fail(A.id, DownloadFailed("no such file", permanent=True))
    records.retry_file(A.id)
    assert records.holds() == {}
    assert {id_ for id_, known in records.all().items() if known.renewed_at} == {"P", "Q"}


def test_a_worker_may_begin_with_what_someone_waits_for(records: Installs) -> None:
    assert not records.is_due(A.id)
    records.request(preset("P", A))
    assert records.is_due(A.id)


@pytest.mark.parametrize("action", ["pause", "cancel", "pause_file", "cancel_file", "pause all"])
def test_a_worker_must_not_begin_with_what_someone_stopped(
    action: str, records: Installs, workspace: Workspace
) -> None:
    records.request(preset("P", A))
    if action == "pause all":
        ScheduleRecords(workspace).pause()
    else:
        getattr(records, action)(A.id if action.endswith("file") else "P")
    assert not records.is_due(A.id)


def test_only_what_was_cancelled_can_be_forgotten(records: Installs) -> None:
    records.request(preset("P", A))
    records.forget("P")
    assert set(records.all()) == {"P"}
    records.cancel("P")
    records.forget("P")
    assert records.all() == {}
    assert records.removed() == frozenset()


def test_what_was_fetched_can_be_dropped(records: Installs, workspace: Workspace) -> None:
    keep_partial(workspace, A, 60)
    records.drop_partial(A)
    records.drop_partial(A)
    assert list(workspace.model_file(A.folder, A.name).parent.iterdir()) == []


def test_asking_for_a_cancelled_preset_resumes_it(records: Installs) -> None:
    records.request(preset("P", A))
    records.cancel("P")
    assert records.request(preset("P", A)) is False
    assert records.all()["P"].is_active


def test_cancelling_one_preset_leaves_another_that_shares_a_file(records: Installs) -> None:
    records.request(preset("P", A, B))
    records.request(preset("Q", A, C))
    records.cancel("P")
    assert not records.all()["P"].is_active
    assert records.all()["Q"].is_active
    assert records.holds() == {}


@pytest.mark.parametrize("is_known", [True, False])
def test_only_what_is_under_way_can_be_cancelled(is_known: bool, records: Installs) -> None:
    if is_known:
        records.request(preset("P", A))
        records.complete(records.all()["P"])
    before = records.all()
    records.cancel("P")
    assert records.all() == before


@pytest.mark.parametrize("action", ["cancel", "pause"])
def test_a_stopped_preset_whose_files_came_for_another_is_complete(action: str, records: Installs) -> None:
    records.request(preset("P", A))
    getattr(records, action)("P")
    records.complete(records.all()["P"])
    known = records.all()["P"]
    assert known.completed_at is not None
    assert (known.cancelled_at, known.paused_at) == (None, None)


def test_a_hold_whose_time_has_come_is_released(records: Installs) -> None:
    records.fail(A.id, DownloadFailed("HTTP 503", permanent=False))
    assert records.expire(A.id, records.holds()[A.id]) is True
    assert records.hold(A.id) is None


def test_a_hold_that_changed_since_it_was_seen_is_not_released(records: Installs) -> None:
    records.fail(A.id, DownloadFailed("HTTP 503", permanent=False))
    seen = records.holds()[A.id]
    records.cancel_file(A.id)
    assert records.expire(A.id, seen) is False
    assert records.holds()[A.id].reason == "cancelled"


def test_a_released_hold_is_gone(records: Installs) -> None:
    records.cancel_file(A.id)
    records.release(A.id)
    assert records.hold(A.id) is None


def test_the_bytes_of_a_partial_file_are_known(records: Installs, workspace: Workspace) -> None:
    target = workspace.model_file(A.folder, A.name)
    journal.part_file(target).write_bytes(bytes(70))
    journal.save(target, Journal(A.url, 100, None, ((0, 60),)))
    assert records.partial_bytes(A) == 60
    assert records.partial_bytes(B) == 0


@pytest.mark.parametrize("tree", ["models", "ComfyUI/models"])
def test_a_file_that_lies_there_need_not_be_fetched(tree: str, records: Installs, workspace: Workspace) -> None:
    folder = workspace.root / tree / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.safetensors").write_bytes(b"x" * 99)
    assert records.partial_bytes(A) == 0
    (folder / "a.safetensors").write_bytes(b"x" * 100)
    assert records.partial_bytes(A) == 100


def test_a_preset_that_left_the_catalogue_keeps_its_files() -> None:
    assert installs.as_preset(install(preset("P", A, B))).files == (A, B)


# What to fetch, and in which order


def names(entries: list[Wanted]) -> list[str]:
    return [entry.artifact.name[0] for entry in entries]


def test_what_is_missing_is_wanted() -> None:
    assert names(installs.wanted(view(install(preset("P", A, B)), verified=here(A)), 10.0)) == ["b"]


def test_small_files_come_before_large_ones_and_unknown_ones_last() -> None:
    assert names(installs.wanted(view(install(preset("P", UNSIZED, A, C, B))), 10.0)) == ["c", "b", "a", "d"]


def test_a_file_that_two_presets_wait_for_comes_first() -> None:
    state = view(install(preset("P", C, A)), install(preset("Q", A)))
    assert names(installs.wanted(state, 10.0)) == ["a", "c"]


def test_a_file_was_asked_for_when_the_last_of_its_presets_was() -> None:
    early, late = Install("P", "p", 1.0, (A, B)), Install("Q", "q", 7.0, (A,))
    wanted = installs.wanted(view(late, early), 10.0)
    assert [(entry.artifact, entry.asked_at) for entry in wanted] == [(A, 7.0), (B, 1.0)]


def test_a_completed_install_wants_nothing() -> None:
    # What is deleted later stays deleted.
    assert installs.wanted(view(install(preset("P", A), completed_at=5.0)), 10.0) == []


def test_a_cancelled_install_wants_nothing_but_what_another_wants() -> None:
    state = view(install(preset("P", A, B), cancelled_at=5.0), install(preset("Q", A)))
    assert names(installs.wanted(state, 10.0)) == ["a"]


def test_the_files_of_presets_that_someone_put_first_come_first() -> None:
    p, q, r = install(preset("P", A)), install(preset("Q", B)), install(preset("R", C))
    assert names(installs.wanted(view(p, q, r, schedule=Schedule(preset_ids=("P", "Q"))), 10.0)) == ["a", "b", "c"]
    assert names(installs.wanted(view(p, q, r, schedule=Schedule(preset_ids=("Q",))), 10.0)) == ["b", "c", "a"]


def test_a_shared_file_comes_with_the_first_of_its_presets() -> None:
    state = view(install(preset("P", C)), install(preset("Q", A, B)), install(preset("R", A)))
    assert names(installs.wanted(replace(state, schedule=Schedule(preset_ids=("R", "P"))), 10.0)) == ["a", "c", "b"]


def test_nothing_is_wanted_now_while_everything_is_paused() -> None:
    assert installs.wanted(view(install(preset("P", A)), schedule=Schedule(paused_at=5.0)), 10.0) == []


def test_a_paused_install_wants_nothing_but_what_another_wants() -> None:
    state = view(install(preset("P", A, B), paused_at=5.0), install(preset("Q", A)))
    assert names(installs.wanted(state, 10.0)) == ["a"]


def test_what_a_paused_install_has_is_not_dropped_with_another() -> None:
    p, q = install(preset("P", A, B)), install(preset("Q", A), paused_at=5.0)
    assert installs.wanted_only_by(p, view(p, q)) == [A, B]
    assert installs.wanted_only_by(p, view(p, q), paused_too=True) == [B]


def test_cancelling_stops_the_files_that_no_other_active_install_wants() -> None:
    p, q = install(preset("P", A, B, C)), install(preset("Q", A))
    cancelled, done = install(preset("R", B), cancelled_at=5.0), install(preset("S", B), completed_at=5.0)
    assert installs.wanted_only_by(p, view(p, q, cancelled, done, verified=here(C))) == [B]


@pytest.mark.parametrize(
    ("hold", "now", "expected"),
    [
        (FAILED, 10.0, []),
        (CANCELLED, 10.0, []),
        (PAUSED, 2.0**41, []),
        (RETRIED, 10.0, []),
        (RETRIED, 2.0**41, ["a"]),
        (NO_ROOM, 10.0, []),
        (NO_ROOM, 2.0**41, ["a"]),
    ],
)
def test_a_held_file_is_wanted_when_its_time_has_come(hold: Hold, now: float, expected: list[str]) -> None:
    assert names(installs.wanted(view(install(preset("P", A)), holds={A.id: hold}), now)) == expected


def test_a_file_with_another_digest_than_the_presets_is_not_there() -> None:
    assert names(installs.wanted(view(install(preset("P", A)), verified=here(A, sha256="1" * 64)), 10.0)) == ["a"]


def test_an_install_is_finished_when_its_last_file_is_there() -> None:
    p, q = install(preset("P", A, B)), install(preset("Q", B, C))
    assert installs.finished(view(p, q, verified=here(A))) == []
    assert installs.finished(view(p, q, verified=here(A, B))) == [p]


def test_an_install_is_finished_only_once() -> None:
    assert installs.finished(view(install(preset("P", A), completed_at=5.0), verified=here(A))) == []


# Space


def fits(wanted: Preset, state: View, free: int, *, reserve: int = 0, partial: dict[str, int] | None = None) -> bool:
    try:
        installs.check_space(wanted, state, free, reserve, partial or {})
    except NotEnoughSpace:
        return False
    return True


def test_a_preset_fits_when_its_files_do() -> None:
    assert fits(preset("P", A, B), view(), 150)
    assert not fits(preset("P", A, B), view(), 149)


def test_the_reserve_is_not_there_to_be_used() -> None:
    assert fits(preset("P", A), view(), 120, reserve=20)
    assert not fits(preset("P", A), view(), 119, reserve=20)


def test_what_is_being_uploaded_is_not_there_to_be_used() -> None:
    assert fits(preset("P", A), replace(view(), uploading_bytes=20), 120)
    assert not fits(preset("P", A), replace(view(), uploading_bytes=20), 119)


def test_files_that_are_there_need_no_space() -> None:
    assert fits(preset("P", A, B), view(verified=here(A)), 50)


def test_bytes_that_were_fetched_need_no_space() -> None:
    assert fits(preset("P", A), view(), 40, partial={A.id: 60})
    assert not fits(preset("P", A), view(), 39, partial={A.id: 60})


def test_bytes_that_one_file_has_too_many_make_no_room_for_another() -> None:
    assert fits(preset("P", A, B), view(), 50, partial={A.id: 500})
    assert not fits(preset("P", A, B), view(), 49, partial={A.id: 500})


def test_what_other_installs_still_have_to_fetch_is_promised_to_them() -> None:
    others = view(install(preset("Q", B)), progress=live(B, done=20))
    assert fits(preset("P", A), others, 130)
    assert not fits(preset("P", A), others, 129)


def test_what_waits_until_everything_is_resumed_is_promised_its_space() -> None:
    state = view(install(preset("Q", B)), schedule=Schedule(paused_at=5.0))
    assert fits(preset("P", A), state, 150)
    assert not fits(preset("P", A), state, 149)


def test_the_bytes_of_partial_data_are_not_promised_again() -> None:
    state = view(install(preset("Q", B)), kept={B.id: 30})
    assert fits(preset("P", A), state, 120)
    assert not fits(preset("P", A), state, 119)


def test_a_cancelled_install_is_promised_nothing() -> None:
    assert fits(preset("P", A), view(install(preset("Q", B), cancelled_at=5.0)), 100)


def test_a_file_that_two_installs_share_needs_its_space_once() -> None:
    assert fits(preset("P", A), view(install(preset("Q", A))), 100)


def test_a_refusal_names_preset_need_and_free_space() -> None:
    with pytest.raises(NotEnoughSpace, match="'P'") as caught:
        installs.check_space(preset("P", A), view(), 70, 20, {})
    assert caught.value.details == {"needed_bytes": 100, "free_bytes": 50, "reserve_bytes": 20, "promised_bytes": 0}


# Who still needs a file


def needed(leaving: Preset, others: list[Preset], state: View) -> list[str]:
    return [known.id for known in installs.still_needed_by(A, leaving, [leaving, *others], state)]


def test_a_file_is_needed_by_another_preset_that_was_asked_for() -> None:
    p, q = preset("P", A), preset("Q", A, B)
    assert needed(p, [q], view(install(p), install(q), verified=here(A))) == ["Q"]


def test_a_file_is_needed_by_another_preset_whose_files_are_all_here() -> None:
    p, q = preset("P", A), preset("Q", A, B)
    assert needed(p, [q], view(install(p), verified=here(A, B))) == ["Q"]


def test_a_file_is_not_needed_by_a_preset_that_was_removed() -> None:
    # Its files are all here because others need them.
    p, q = preset("P", A), preset("Q", A, B)
    assert needed(p, [q], view(install(p), verified=here(A, B), removed=("Q",))) == []


def test_a_file_is_not_needed_by_a_preset_nobody_asked_for() -> None:
    p, q = preset("P", A), preset("Q", A, B)
    assert needed(p, [q], view(install(p), verified=here(A))) == []


def test_a_file_is_not_needed_by_the_preset_that_leaves() -> None:
    p = preset("P", A)
    assert needed(p, [], view(install(p), verified=here(A))) == []


def test_a_file_is_not_needed_by_presets_that_do_not_bring_it() -> None:
    p, q = preset("P", A), preset("Q", B)
    assert needed(p, [q], view(install(p), install(q), verified=here(A, B))) == []
