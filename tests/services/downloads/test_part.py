import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from services import journal
from services.downloads import part as parts
from services.downloads.lease import Lease
from services.downloads.part import Part
from services.errors import DownloadFailed
from services.journal import Journal
from services.pod import process_mark

URL = "https://models.example/a.pt"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "a.pt"


@pytest.fixture
def lease(target: Path) -> Lease:
    made = Lease(journal.lease_file(target), "a", process_mark())
    made.take()
    return made


@pytest.fixture
def part(target: Path, lease: Lease) -> Iterator[Part]:
    with parts.held(target, lease) as made:
        yield made


def entry(*spans: tuple[int, int]) -> Journal:
    return Journal(URL, 1000, '"one"', spans)


def take_over(target: Path) -> Lease:
    journal.lease_file(target).unlink()
    theirs = Lease(journal.lease_file(target), "b", process_mark())
    theirs.take()
    return theirs


def names(target: Path) -> list[str]:
    return sorted(file.name for file in target.parent.iterdir())


def test_bytes_are_written_at_their_place(part: Part, target: Path) -> None:
    part.write(memoryview(b"world"), 5)
    part.write(memoryview(b"hello"), 0)
    assert journal.part_file(target).read_bytes() == b"helloworld"


def test_a_write_that_was_cut_short_goes_on(part: Part, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, position: pwrite(file, data[:3], position))
    part.write(memoryview(b"helloworld"), 2)
    assert journal.part_file(target).read_bytes() == b"\0\0helloworld"


def test_a_checkpoint_syncs_before_it_is_told(part: Part, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part.write(memoryview(bytes(10)), 0)
    seen: list[Journal | None] = []
    monkeypatch.setattr(os, "fdatasync", lambda _: seen.append(journal.load(target)))
    part.checkpoint(entry((0, 10)))
    assert seen == [None]
    assert journal.load(target) == entry((0, 10))


def test_a_checkpoint_whose_sync_fails_is_not_told(part: Part, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError("input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    part.write(memoryview(bytes(10)), 0)
    with pytest.raises(OSError, match="input/output"):
        part.checkpoint(entry((0, 10)))
    assert journal.load(target) is None


def test_starting_over_leaves_neither_bytes_nor_journal(part: Part, target: Path) -> None:
    part.write(memoryview(bytes(10)), 0)
    part.checkpoint(entry((0, 10)))
    descriptor = part.descriptor
    part.start_over()
    assert part.descriptor == descriptor
    assert (journal.part_file(target).read_bytes(), journal.load(target)) == (b"", None)
    part.write(memoryview(b"new"), 0)
    assert journal.part_file(target).read_bytes() == b"new"


def test_starting_over_leaves_the_old_file_to_whoever_still_writes_to_it(part: Part, target: Path) -> None:
    old = os.open(journal.part_file(target), os.O_RDWR)
    part.start_over()
    os.pwrite(old, b"late", 0)
    os.close(old)
    assert journal.part_file(target).read_bytes() == b""


def test_no_descriptor_is_lost_by_starting_over(part: Part) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        part.start_over()
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_published_has_the_bytes_and_no_more(part: Part, target: Path) -> None:
    part.write(memoryview(b"hello and more"), 0)
    part.checkpoint(entry((0, 5)))
    part.publish(5)
    assert target.read_bytes() == b"hello"
    assert names(target) == [target.name, journal.lease_file(target).name]


def test_who_lost_the_lease_publishes_nothing(part: Part, target: Path) -> None:
    part.write(memoryview(b"hello"), 0)
    take_over(target)
    with pytest.raises(DownloadFailed, match="taken over by another pod") as caught:
        part.publish(5)
    assert not caught.value.permanent
    assert not target.exists()
    assert journal.part_file(target).exists()


def test_who_lost_the_lease_tells_the_journal_nothing(part: Part, target: Path) -> None:
    part.write(memoryview(b"hello"), 0)
    take_over(target)
    with pytest.raises(DownloadFailed, match="taken over"):
        part.checkpoint(entry((0, 5)))
    assert journal.load(target) is None


def test_who_lost_the_lease_does_not_start_over(part: Part, target: Path) -> None:
    part.write(memoryview(b"hello"), 0)
    take_over(target)
    with pytest.raises(DownloadFailed, match="taken over"):
        part.start_over()
    assert journal.part_file(target).read_bytes() == b"hello"


def test_a_lease_that_was_lost_is_left_to_its_holder(target: Path, lease: Lease) -> None:
    with parts.held(target, lease):
        theirs = take_over(target)
    assert theirs.is_ours()
    assert journal.part_file(target).exists()


def test_a_part_that_holds_something_stays(target: Path, lease: Lease) -> None:
    with parts.held(target, lease) as part:
        part.write(memoryview(b"hello"), 0)
        part.checkpoint(entry((0, 5)))
    assert journal.bytes_kept(target, URL) == 5
    assert not journal.lease_file(target).exists()


def test_a_part_that_holds_nothing_goes(target: Path, lease: Lease) -> None:
    with parts.held(target, lease):
        assert journal.part_file(target).exists()
    assert names(target) == []


def test_the_lease_is_released_when_the_part_cannot_be_opened(target: Path, lease: Lease) -> None:
    journal.part_file(target).symlink_to(target.parent)
    with pytest.raises(OSError), parts.held(target, lease):
        pass
    assert not journal.lease_file(target).exists()


def test_the_descriptor_is_closed_whatever_happens(target: Path, lease: Lease) -> None:
    with pytest.raises(KeyError), parts.held(target, lease) as part:
        raise KeyError
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(part.descriptor)


def test_children_do_not_inherit_the_descriptor(part: Part) -> None:
    part.start_over()
    assert not os.get_inheritable(part.descriptor)
