import pytest

from services.plan import Plan, PlanRecords
from services.workspace import Workspace


@pytest.fixture
def records(workspace: Workspace) -> PlanRecords:
    return PlanRecords(workspace)


def test_nothing_was_said_at_first(records: PlanRecords) -> None:
    assert records.get() == Plan()
    assert not records.get().is_paused


def test_a_pause_is_there_for_everyone_until_someone_resumes(records: PlanRecords, workspace: Workspace) -> None:
    records.pause()
    assert PlanRecords(workspace).get().is_paused
    records.resume()
    assert PlanRecords(workspace).get() == Plan()


def test_pausing_twice_is_pausing_once(records: PlanRecords) -> None:
    records.pause()
    before = records.get()
    records.pause()
    assert records.get() == before


def test_resuming_what_is_not_paused_changes_nothing(records: PlanRecords) -> None:
    records.resume()
    assert records.get() == Plan()


def test_an_order_is_kept_through_a_pause(records: PlanRecords) -> None:
    records.arrange(("B", "A"))
    records.pause()
    records.resume()
    assert records.get() == Plan(preset_ids=("B", "A"))


def test_what_nobody_gave_a_place_comes_last() -> None:
    plan = Plan(preset_ids=("B", "A"))
    assert [plan.place(id_) for id_ in ("A", "B", "C", "D")] == [1, 0, 2, 2]
