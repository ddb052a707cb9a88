import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from services.log import redact
from services.settings import APP_DIR

RUNNING: "list[Program]" = []


class Program:
    """A process of its own that configures its logs, as every program of the suite does; `say` makes it run code."""

    def __init__(self, file: Path, before: str = "") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-c", "import sys\nfor line in sys.stdin:\n exec(line)\n print('done', flush=True)"],
            cwd=APP_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        RUNNING.append(self)
        self.say("import logging, pathlib; from services import log")
        self.say(before or "pass")
        self.say(f"log.configure('tests', pathlib.Path({str(file)!r})); logger = log.get('parts')")

    def say(self, code: str) -> float:
        """The seconds it took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        started = time.monotonic()
        self._process.stdin.write(code + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"
        return time.monotonic() - started

    def end(self) -> list[dict[str, Any]]:
        """Ends it; what it wrote to the console."""
        RUNNING.remove(self)
        _, errors = self._process.communicate(timeout=30)
        return [json.loads(line) for line in errors.splitlines()]

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(autouse=True)
def _nothing_left_running() -> Iterator[None]:
    """A test that failed did not come to the end of its program."""
    yield
    while RUNNING:
        RUNNING.pop().kill()


def lines(file: Path, count: int) -> list[dict[str, Any]]:
    """The lines in `file`, once there are `count`."""
    until = time.monotonic() + 20
    while not file.exists() or file.read_text().count("\n") < count:
        assert time.monotonic() < until, file.read_text() if file.exists() else "no file"
        time.sleep(0.01)
    return [json.loads(line) for line in file.read_text().splitlines()]


def line(reader: BinaryIO) -> bytes:
    """The next line of a pipe, once it is there."""
    read = b""
    while not read.endswith(b"\n"):
        assert select.select([reader], [], [], 20)[0], "no line within twenty seconds"
        read += reader.read(1)
    return read


def test_an_event_is_one_json_object_on_console_and_volume(tmp_path: Path) -> None:
    program = Program(tmp_path / "a.log")
    program.say("logger.info('preset_installed', preset_id='P', seconds=1.5)")
    (line,) = lines(tmp_path / "a.log", 1)
    assert program.end() == [line]
    assert (line["program"], line["level"], line["event"]) == ("tests", "info", "preset_installed")
    assert (line["logger"], line["preset_id"], line["seconds"]) == ("parts", "P", 1.5)
    assert line["time"].startswith("20")
    assert line["time"].endswith("Z")


def test_libraries_speak_in_the_same_shape() -> None:
    program = Program(Path("/dev/null"))
    program.say("logging.getLogger('rq.worker').warning('job %s is late', 7)")
    (line,) = program.end()
    assert (line["event"], line["logger"], line["level"]) == ("job 7 is late", "rq.worker", "warning")


def test_a_warning_of_python_is_logged() -> None:
    program = Program(Path("/dev/null"))
    program.say("import warnings; warnings.simplefilter('always'); warnings.warn('soon gone')")
    (line,) = program.end()
    assert "soon gone" in line["event"]


def test_a_traceback_is_one_line() -> None:
    program = Program(Path("/dev/null"))
    program.say("exec('try:\\n 1/0\\nexcept ZeroDivisionError:\\n logger.exception(\"went_wrong\")')")
    (line,) = program.end()
    assert "ZeroDivisionError" in line["exception"]


@pytest.mark.parametrize("text", ["two\\nlines", "\\r\\n{}", "\\x1b[2J", "\\u2028", "\\0"])
def test_what_is_logged_cannot_begin_a_line_of_its_own(text: str) -> None:
    program = Program(Path("/dev/null"))
    program.say(f"logger.info('event', text='{text}')")
    assert len(program.end()) == 1


def test_what_is_below_the_level_is_not_logged() -> None:
    program = Program(Path("/dev/null"))
    program.say("logger.debug('detail'); logging.getLogger('httpx').info('GET'); logger.info('event')")
    assert [line["event"] for line in program.end()] == ["event"]


def test_a_logger_may_have_a_file_of_its_own(tmp_path: Path) -> None:
    program = Program(tmp_path / "a.log")
    own = f"{{'bridge': pathlib.Path({str(tmp_path / 'own.log')!r})}}"
    program.say(f"log.configure('tests', pathlib.Path({str(tmp_path / 'a.log')!r}), own_files={own})")
    program.say("log.get('bridge').info('its own'); log.get('parts').info('the common one')")
    assert [line["event"] for line in lines(tmp_path / "own.log", 1)] == ["its own"]
    assert [line["event"] for line in lines(tmp_path / "a.log", 1)] == ["the common one"]
    assert sorted(line["event"] for line in program.end()) == ["its own", "the common one"]


def test_a_folder_that_is_missing_stops_nobody(tmp_path: Path) -> None:
    program = Program(tmp_path / "volume" / "a.log")
    program.say("logger.info('lost')")
    assert [line["event"] for line in program.end()] == ["lost"]


def test_a_folder_that_comes_back_is_written_to(tmp_path: Path) -> None:
    program = Program(tmp_path / "volume" / "a.log")
    program.say("logger.info('lost')")
    time.sleep(0.1)
    (tmp_path / "volume").mkdir()
    program.say("logger.info('kept')")
    assert [line["event"] for line in lines(tmp_path / "volume" / "a.log", 1)] == ["kept"]
    program.end()


def test_a_file_that_was_rotated_away_is_opened_anew(tmp_path: Path) -> None:
    program = Program(tmp_path / "a.log")
    program.say("logger.info('yesterday')")
    lines(tmp_path / "a.log", 1)
    (tmp_path / "a.log").rename(tmp_path / "a.log.1")
    program.say("logger.info('today')")
    assert [line["event"] for line in lines(tmp_path / "a.log", 1)] == ["today"]
    program.end()


def test_the_last_words_of_a_program_reach_the_volume(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from services import log; log.configure('tests', pathlib.Path(sys.argv[1]))\n"
        "for number in range(500): log.get('parts').info('word', number=number)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.log")]
    subprocess.run(command, cwd=APP_DIR, check=True, capture_output=True)
    said = (tmp_path / "a.log").read_text().splitlines()
    assert [json.loads(line)["number"] for line in said] == list(range(500))


def test_a_program_ends_although_the_volume_hangs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.log")
    program = Program(tmp_path / "a.log")
    program.say("logger.info('line')")
    started = time.monotonic()
    assert [line["event"] for line in program.end()] == ["line"]
    assert time.monotonic() - started < 20


def test_a_forked_process_is_heard_too(tmp_path: Path) -> None:
    # RQ runs each job in one, and ends it with os._exit.
    program = Program(tmp_path / "a.log", before="import os")
    program.say("logger.info('parent')")
    program.say("pid = os.fork(); pid or (logger.info('child'), logging.shutdown(), os._exit(0)); os.waitpid(pid, 0)")
    assert [line["event"] for line in lines(tmp_path / "a.log", 2)] == ["parent", "child"]
    program.end()


def test_a_volume_that_hangs_costs_lines_and_no_time(tmp_path: Path) -> None:
    # Opening a pipe that nobody reads hangs as a lost volume does.
    pipe = tmp_path / "a.log"
    os.mkfifo(pipe)
    program = Program(pipe, before="log.QUEUE_LINES = 10")
    assert program.say("[logger.info('line', number=n) for n in range(100)]") < 20
    # For reading; opened for writing too, it does not end when the other side opens its end anew.
    with os.fdopen(os.open(pipe, os.O_RDWR), "rb", buffering=0) as reader:
        kept = [json.loads(line(reader)) for _ in range(10)]
        program.say("logger.info('line', number=100)")
        while kept[-1].get("number") != 100:
            kept.append(json.loads(line(reader)))
        program.end()
    numbers = [line["number"] for line in kept if line["event"] == "line"]
    dropped = [line["count"] for line in kept if line["event"] == "log_lines_dropped"]
    assert numbers[:10] == list(range(10))
    assert len(numbers) < 30
    assert len(numbers) + sum(dropped) == 101


@pytest.mark.parametrize(
    "text",
    [
        "https://civitai.com/api/download/models/1?token=canary",
        "https://civitai.com/api/download/models/1?type=Model&token=canary&format=x",
        "https://cdn.example/a?X-Amz-Signature=canary&X-Amz-Credential=canary",
        "https://cdn.example/a?Expires=canary&Policy=canary&Signature=canary&Key-Pair-Id=public",
        "https://storage.example/a?X-Goog-Algorithm=public&X-Goog-Signature=canary",
        "https://blob.example/a?sv=2024&sig=canary",
        "https://cdn.example/a?response=x&api_key=canary",
        "https://cdn.example/a?access_token=canary",
        "https://user:canary@models.example/a",
        "Authorization: Bearer canary",
        "authorization: bearer canary.canary-canary",
        "{'Authorization': 'Bearer canary'}",
        'failed: "https://cdn.example/a?token=canary" (HTTP 403)',
    ],
)
def test_no_token_and_no_signature_is_logged(text: str) -> None:
    assert "canary" not in redact(text)


def test_a_token_of_hugging_face_is_known_wherever_it_stands() -> None:
    assert redact(f'{{"said": "hf_{"Canary9" * 5} is wrong"}}') == '{"said": "hf_*** is wrong"}'


@pytest.mark.parametrize(
    "text",
    [
        "https://huggingface.co/a/b/resolve/main/c.safetensors",
        "https://huggingface.co/a/b/resolve/main/hf_canary_model_with_a_long_name_v2.safetensors",
        "https://cdn.example/a?download=true&page=2",
        "the token was refused",
        "3 tokens",
        "",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "call",
    [
        "logger.info('event', url='https://cdn.example/?token=canary')",
        "logger.info('https://cdn.example/?token=canary')",
        "logger.bind(url='https://cdn.example/?token=canary').info('event')",
        "logger.info('event', urls=['https://cdn.example/?token=canary'])",
        "logger.info('event', nested={'url': 'https://cdn.example/?token=canary'})",
        "logger.info('event', error=ValueError('https://cdn.example/?token=canary'))",
        "logger.info('event', text='say \"https://cdn.example/?token=canary\" twice')",
        "logger.info('event', text='one\\nhttps://cdn.example/?token=canary\\ntwo')",
        "logging.getLogger('x').error('cannot get %s', 'https://cdn.example/?token=canary')",
        'exec(\'try:\\n raise ValueError("https://h/?token=canary")\\nexcept ValueError:\\n logger.exception("x")\')',
    ],
)
def test_no_way_of_logging_shows_a_token(call: str) -> None:
    program = Program(Path("/dev/null"))
    program.say(call)
    logged = program.end()
    assert len(logged) == 1
    assert "canary" not in str(logged)
