import io
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from services import zip_stream
from services.zip_stream import PIECE_BYTES, Member

CONTENTS = {"images/a_00001_.png": b"a" * (2 * PIECE_BYTES + 7), "é ü.webp": b"", "videos/deep/b.mp4": b"moving" * 100}
MEMBERS = [Member(name, len(content), 1_700_000_000.0) for name, content in CONTENTS.items()]
ZEROS = bytes(PIECE_BYTES)


def whole(member: Member) -> BinaryIO:
    return io.BytesIO(CONTENTS[member.name])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "outputs.zip"


def written(archive: Path, pieces: Iterator[bytes]) -> zipfile.ZipFile:
    """Opened, after both readers found it whole. Zeros become holes."""
    with archive.open("wb") as file:
        for piece in pieces:
            if piece == ZEROS:
                file.seek(len(piece), 1)
            else:
                file.write(piece)
        file.truncate()
    opened = zipfile.ZipFile(archive)
    assert opened.testzip() is None
    tested = subprocess.run(["unzip", "-t", archive], capture_output=True, text=True)
    assert (tested.returncode, tested.stderr) == (0, ""), tested.stdout
    return opened


def test_every_file_comes_out_as_it_went_in(archive: Path) -> None:
    with written(archive, zip_stream.pieces(MEMBERS, whole)) as opened:
        assert {name: opened.read(name) for name in opened.namelist()} == CONTENTS
        assert opened.getinfo("é ü.webp").date_time == (2023, 11, 14, 22, 13, 20)


def test_the_length_is_known_before_the_first_byte(archive: Path) -> None:
    written(archive, zip_stream.pieces(MEMBERS, whole)).close()
    assert archive.stat().st_size == zip_stream.length(MEMBERS)


def test_a_file_that_vanished_is_left_out_and_the_length_stays(archive: Path) -> None:
    gone = MEMBERS[0].name
    pieces = zip_stream.pieces(MEMBERS, lambda member: None if member.name == gone else whole(member))
    with written(archive, pieces) as opened:
        assert opened.namelist() == [member.name for member in MEMBERS[1:]]
    assert archive.stat().st_size == zip_stream.length(MEMBERS)


def test_a_file_that_became_shorter_holds_what_was_there(archive: Path) -> None:
    pieces = zip_stream.pieces(MEMBERS, lambda member: io.BytesIO(CONTENTS[member.name][:5]))
    with written(archive, pieces) as opened:
        assert opened.read("videos/deep/b.mp4") == b"movin"
    assert archive.stat().st_size == zip_stream.length(MEMBERS)


def test_a_file_that_grew_ends_where_it_ended_before(archive: Path) -> None:
    pieces = zip_stream.pieces(MEMBERS, lambda member: io.BytesIO(CONTENTS[member.name] + b"more"))
    with written(archive, pieces) as opened:
        assert opened.read("videos/deep/b.mp4") == CONTENTS["videos/deep/b.mp4"]


def test_no_more_than_a_piece_is_held() -> None:
    assert max(len(piece) for piece in zip_stream.pieces(MEMBERS, whole)) <= PIECE_BYTES


def test_a_file_that_is_given_up_half_way_is_closed() -> None:
    file = io.BytesIO(CONTENTS["images/a_00001_.png"])
    pieces = zip_stream.pieces(MEMBERS, lambda _member: file)
    assert len(next(pieces)) < 100
    assert len(next(pieces)) == PIECE_BYTES
    pieces.close()
    assert file.closed


def test_more_than_four_gigabytes_and_what_comes_behind_them(archive: Path) -> None:
    class Zeros(io.RawIOBase):
        left = zip_stream.WIDE + 10

        def read(self, size: int = -1) -> bytes:
            size = min(size, self.left)
            self.left -= size
            return ZEROS if size == PIECE_BYTES else bytes(size)

    large = Member("videos/long.mp4", zip_stream.WIDE + 10, 1_700_000_000.0)
    members = [large, MEMBERS[2]]
    opened: dict[str, BinaryIO] = {large.name: Zeros(), MEMBERS[2].name: whole(MEMBERS[2])}  # type: ignore[dict-item]
    with archive.open("wb") as file:
        for piece in zip_stream.pieces(members, lambda member: opened[member.name]):
            if piece is ZEROS:
                file.seek(len(piece), 1)
            else:
                file.write(piece)
    assert archive.stat().st_size == zip_stream.length(members)
    with zipfile.ZipFile(archive) as found:
        assert [info.file_size for info in found.infolist()] == [large.size_bytes, MEMBERS[2].size_bytes]
        assert found.read(MEMBERS[2].name) == CONTENTS[MEMBERS[2].name]


def test_more_files_than_a_plain_directory_can_count(archive: Path) -> None:
    members = [Member(f"{number}.png", 1, 0.0) for number in range(zip_stream.MANY + 1)]
    with archive.open("wb") as file:
        file.writelines(zip_stream.pieces(members, lambda _member: io.BytesIO(b"x")))
    assert archive.stat().st_size == zip_stream.length(members)
    with zipfile.ZipFile(archive) as opened:
        assert len(opened.namelist()) == len(members)
        assert opened.read("65535.png") == b"x"
        assert opened.getinfo("0.png").date_time == (1980, 1, 1, 0, 0, 0)
