import pytest

from services.schedule import Schedule, ScheduleRecords
from services.workspace import Workspace


@pytest.fixture
def records(workspace: Workspace) -> ScheduleRecords:
    return ScheduleRecords(workspace)


def test_nothing_was_said_at_first(records: ScheduleRecords) -> None:
    assert records.get() == Schedule()
    assert not records.get().is_paused


def test_a_pause_is_there_for_everyone_until_someone_resumes(records: ScheduleRecords, workspace: Workspace) -> None:
    records.pause()
    assert ScheduleRecords(workspace).get().is_paused
    records.resume()
    assert ScheduleRecords(workspace).get() == Schedule()


def test_pausing_twice_is_pausing_once(records: ScheduleRecords) -> None:
    records.pause()
    before = records.get()
    records.pause()
    assert records.get() == before


def test_resuming_what_is_not_paused_changes_nothing(records: ScheduleRecords) -> None:
    records.resume()
    assert records.get() == Schedule()


def test_an_order_is_kept_through_a_pause(records: ScheduleRecords) -> None:
    records.arrange(("B", "A"))
    records.pause()
    records.resume()
    assert records.get() == Schedule(preset_ids=("B", "A"))


def test_what_nobody_gave_a_place_comes_last() -> None:
    schedule = Schedule(preset_ids=("B", "A"))
    assert [schedule.place(id_) for id_ in ("A", "B", "C", "D")] == [1, 0, 2, 2]
