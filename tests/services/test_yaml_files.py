import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from services import yaml_files
from services.yaml_files import MAX_BYTES, InvalidYaml

BILLION_LAUGHS = b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n"

BROKEN = {
    "billion laughs": BILLION_LAUGHS,
    "an alias to itself": b"a: &a [*a]\n",
    "lists in lists": b"[" * 5_000,
    "lists in lists that end": b"[" * 50 + b"]" * 50,
    "dashes in dashes": b"- " * 5_000 + b"x",
    "maps in maps": b"{a: " * 5_000,
    "not UTF-8": b"name: \xff\xfe",
    "a zero byte": b"name: \0",
    "a key twice": b"a: 1\na: 2\n",
    "an object of Python": b"a: !!python/object/apply:os.system [id]",
    "a list as a key": b"? {a: b}\n: c\n",
    "two documents": b"a: 1\n---\nb: 2\n",
    "an open bracket": b"a: [1, 2\n",
    "a tab for a space": b"a:\n\t- b\n",
    "a date that is none": b"a: 2020-13-45",
    "a number too long": b"a: " + b"9" * 5_000,
    "a tag that does not fit": b"a: !!int x",
    "a truth value that is none": b"a: !!bool maybe",
    "a number without digits": b"a: !!int ''",
    "a fraction without digits": b"a: !!float ''",
    "a version of YAML that is none": b"%YAML 1.3\n---\na: 1\n",
    "another version of YAML": b"%YAML 1.1\n---\na: yes\n",
    "a tag as long as the file": b"a: !" + b"a" * (MAX_BYTES - 10),
    "a list of values as a key": b"? [a, b]\n: c\n",
    "half a character": b'a: "\\ud800"\n',
}


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Seconds of the processor: however busy it is with others."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"it took longer than {seconds} s")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_is_no_plain_yaml_is_one_error_within_seconds(data: bytes) -> None:
    with within(4), pytest.raises(InvalidYaml, match=r"^here"):
        yaml_files.parse(data, "here")


@pytest.mark.parametrize(
    "data", [b"[" + b"1," * (MAX_BYTES // 2 - 2) + b"1]", b"".join(b"k%05d: v\n" % n for n in range(95_000))]
)
def test_a_file_of_the_greatest_size_does_not_keep_the_parser_for_long(data: bytes) -> None:
    assert len(data) <= MAX_BYTES
    with within(20), contextlib.suppress(InvalidYaml):
        yaml_files.parse(data, "presets.yaml")


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    with file.open("wb") as opened:
        opened.write(b"# a comment, and then nothing for a terabyte\n")
        opened.truncate(10**12)
    started = time.monotonic()
    with pytest.raises(InvalidYaml, match=f"{file}: larger than"):
        yaml_files.read(file)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("data", "line"),
    [(b"a: 1\nb: [\n", 3), (b"a: 1\na: 2\n", 2), (b"a: 1\nb: &x 1\nc: *x\n", 3), (b"a:\n  b\n c: 1\n", 3)],
)
def test_an_error_names_the_line(data: bytes, line: int) -> None:
    with pytest.raises(InvalidYaml, match=f"line {line}"):
        yaml_files.parse(data, "presets.yaml")


DOCUMENT = b"""\
# mine
a: 1
b:
  - c: x
    d: {e: 2,
        f: 3}

  - c: y
1: z
"""


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ((), 2),
        (("a",), 2),
        (("b",), 3),
        (("b", 0), 4),
        (("b", 0, "d"), 5),
        (("b", 0, "d", "f"), 6),
        (("b", 1, "c"), 8),
        (("1",), 9),
        (("b", 1, "gone"), 8),
        (("b", 7, "c"), 3),
        (("gone",), 2),
        (("a", "gone", 0), 2),
    ],
)
def test_a_document_knows_the_line_of_a_value_or_of_what_is_around_it(where: tuple[str | int, ...], line: int) -> None:
    assert yaml_files.parse_document(DOCUMENT, "here").line_of(where) == line


def test_an_empty_document_begins_on_its_first_line() -> None:
    assert yaml_files.parse_document(b"", "here").line_of(("a",)) == 1


def test_an_error_has_its_reason_and_line_apart() -> None:
    with pytest.raises(InvalidYaml) as caught:
        yaml_files.parse(b"a: 1\nb: &x 1\nc: *x\n", "here")
    assert (caught.value.line, caught.value.reason) == (3, "aliases are not allowed")
    assert caught.value.message == "here, line 3: aliases are not allowed"


def test_what_is_not_utf_8_is_named_with_its_line() -> None:
    with pytest.raises(InvalidYaml, match="here, line 3: not UTF-8"):
        yaml_files.parse(b"a: 1\n\nb: \xff\n", "here")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["a folder", "a pipe"])
def test_what_is_not_a_file_is_refused_at_once(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "a.yaml")
    with pytest.raises(InvalidYaml, match="it is not a file"):
        yaml_files.read(tmp_path / "a.yaml")


def test_a_file_is_read_as_plain_values(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [1, 2.5, true, null, 'text']\nb: {c: é}\n", encoding="utf-8")
    assert yaml_files.read(tmp_path / "a.yaml") == {"a": [1, 2.5, True, None, "text"], "b": {"c": "é"}}


def test_a_date_is_text() -> None:
    data = b"a: 2020-01-02\nb: 9999-12-31T23:00:00-05:00\n"
    assert yaml_files.parse(data, "presets.yaml") == {"a": "2020-01-02", "b": "9999-12-31T23:00:00-05:00"}


def test_an_error_does_not_repeat_the_file() -> None:
    with pytest.raises(InvalidYaml) as caught:
        yaml_files.parse(b"a: " + b"x" * 100_000 + b"\na: 1\n", "presets.yaml")
    assert len(caught.value.message) < 1_000


def test_an_empty_file_holds_nothing() -> None:
    assert yaml_files.parse(b"", "presets.yaml") is None


def test_depth_that_a_workflow_needs_is_allowed() -> None:
    assert yaml_files.parse(b"[" * 30 + b"]" * 30, "presets.yaml") is not None


def test_what_is_written_reads_back() -> None:
    value = {"text": "1", "number": 1, "true": True, "lines": "a\nb", "accent": "é", "list": ["#", ": ", "- x", ""]}
    assert yaml_files.parse(yaml_files.dump(value), "written") == value


def test_what_is_written_keeps_its_order() -> None:
    assert list(yaml_files.parse(yaml_files.dump({"b": 1, "a": 2, "c": 3}), "written")) == ["b", "a", "c"]
