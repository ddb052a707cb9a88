import itertools
import random
import secrets
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from services import journal
from services.journal import Journal, Span
from services.pod import boot_id

URL = "https://models.example/a.safetensors"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "a.safetensors"


def begun(target: Path, *spans: Span, length: int = 1000, total: int | None = 1000) -> Journal:
    made = Journal(URL, total, '"etag"', spans, "0" * 64)
    journal.part_file(target).write_bytes(bytes(length))
    journal.save(target, made)
    return made


def test_a_journal_comes_back_as_it_was_saved(target: Path) -> None:
    assert journal.load(target) is None
    saved = begun(target, (0, 100), (200, 500))
    assert journal.load(target) == saved


def test_a_journal_knows_how_much_is_here(target: Path) -> None:
    made = begun(target, (0, 100), (200, 500))
    assert (made.bytes_done, made.is_whole) == (400, False)


def test_a_journal_of_every_byte_is_whole(target: Path) -> None:
    assert begun(target, (0, 1000)).is_whole


def test_nothing_is_whole_while_its_length_is_not_known(target: Path) -> None:
    assert not begun(target, (0, 1000), total=None).is_whole


def test_bytes_behind_the_journal_do_not_matter(target: Path) -> None:
    begun(target, (0, 500), length=700)
    assert journal.bytes_kept(target, [URL]) == 500


def test_bytes_are_kept_for_the_address_they_came_from(target: Path) -> None:
    begun(target, (0, 500))
    assert journal.bytes_kept(target, [URL + "?v=2"]) == 0


@pytest.mark.parametrize("length", [0, 499])
def test_a_journal_that_is_ahead_of_its_data_is_not_believed(length: int, target: Path) -> None:
    begun(target, (0, 100), (200, 500), length=length)
    assert journal.load(target) is None


def test_a_journal_without_data_is_not_believed(target: Path) -> None:
    begun(target, (0, 500))
    journal.part_file(target).unlink()
    assert journal.load(target) is None
    assert journal.bytes_kept(target, [URL]) == 0


@pytest.mark.parametrize(
    "spans",
    [
        ((0, 0),),
        ((5, 3),),
        ((0, 100), (50, 200)),
        ((200, 300), (0, 100)),
        ((0, 100), (0, 100)),
        ((0, 1001),),
        ((1000, 1001),),
    ],
)
def test_spans_that_make_no_sense_are_not_believed(spans: tuple[Span, ...], target: Path) -> None:
    begun(target, *spans, length=2000)
    assert journal.load(target) is None


def test_of_any_spans_only_those_in_order_and_apart_are_believed(target: Path) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(200):
        places = [chance.randrange(12) for _ in range(2 * chance.randrange(1, 4))]
        spans = tuple(zip(places[::2], places[1::2], strict=True))
        begun(target, *spans, length=10, total=10)
        is_sound = all(a < b for a, b in itertools.pairwise(places)) and places[-1] <= 10
        assert (journal.load(target) is not None) is is_sound, spans


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"url": "\xff"}',
        b'{"url": "x"}',
        msgspec.json.encode({"url": URL, "bytes_total": None, "etag": None, "spans": [[-1, 5]]}),
        msgspec.json.encode({"url": URL, "bytes_total": None, "etag": None, "spans": [[0, 5, 9]]}),
        msgspec.json.encode({"url": URL, "bytes_total": None, "etag": None, "spans": [[0, 1.5]]}),
        # As versions before spans wrote it.
        msgspec.json.encode({"url": URL, "bytes_done": 500, "bytes_total": 1000, "etag": None}),
    ],
)
def test_a_journal_nobody_can_read_is_not_believed(data: bytes, target: Path) -> None:
    begun(target, (0, 500))
    target.with_name(target.name + ".part.json").write_bytes(data)
    assert journal.load(target) is None


def test_discarding_leaves_nothing_but_the_file_itself(target: Path) -> None:
    begun(target, (0, 500))
    target.write_bytes(b"finished")
    journal.discard(target)
    journal.discard(target)
    assert [entry.name for entry in target.parent.iterdir()] == [target.name]


def test_what_is_forgotten_is_not_believed(target: Path) -> None:
    begun(target, (0, 500))
    journal.forget(target)
    journal.forget(target)
    assert journal.bytes_kept(target, [URL]) == 0
    assert journal.part_file(target).exists()


def test_what_was_only_written_counts_while_the_machine_runs_and_a_digest_will_tell(target: Path) -> None:
    journal.part_file(target).write_bytes(bytes(900))
    noted = Journal(URL, 1000, None, ((0, 500),), "0" * 64, ((0, 900),), boot_id())
    journal.note(target, noted)
    assert journal.bytes_kept(target, [URL]) == 900
    journal.note(target, replace(noted, boot="another"))
    assert journal.bytes_kept(target, [URL]) == 500
    journal.note(target, replace(noted, sha256=None))
    assert journal.bytes_kept(target, [URL]) == 500


def test_a_note_that_was_never_finished_is_discarded_with_the_rest(target: Path) -> None:
    target.with_name(target.name + ".part.json.tmp").write_bytes(b"{")
    journal.discard(target)
    assert list(target.parent.iterdir()) == []
