"""Kills at random moments of a download, and what each of them cost."""

import contextlib
import hashlib
import random
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services import journal
from services.artifacts import Artifact
from services.presets import Preset
from tests.fakes.model_host import ModelHost
from tests.faults.pod import Pod, content, wait_for

MIB = 1024 * 1024
SIZE_BYTES = 96 * MIB
# Of each of sixteen lines, most of the time: three seconds for the file.
LINE_BYTES_PER_SECOND = 2 * MIB
# A moment is a place in the file, reached or just passed: so the slow start gets no more of them than the rest.
PASSED_SECONDS = 0.2
# What a kill may cost.
REFETCHED_MAX_BYTES = 32 * MIB
STUCK_SECONDS = 30.0
# What is killed may write for so long.
DYING_SECONDS = 0.1
END_SECONDS = 90.0


def _kill_redis(pod: Pod, dice: random.Random) -> None:
    if dice.random() < 0.5:
        pod.lose_redis_data()
    else:
        pod.kill("redis")


def _kill_all(pod: Pod, dice: random.Random) -> None:
    if dice.random() < 0.5:
        pod.replace()
    else:
        pod.kill_all()


KINDS: dict[str, Callable[[Pod, random.Random], object]] = {
    "job": lambda pod, _: pod.kill_job(),
    "worker": lambda pod, _: pod.kill("worker-1"),
    "redis": _kill_redis,
    "all": _kill_all,
}


@dataclass(frozen=True)
class Kill:
    """What one kill cost. `done_bytes`: how much was there when it came; `still_seconds`: until bytes came again."""

    kind: str
    done_bytes: int
    refetched_bytes: int
    still_seconds: float


def kill_once(pod: Pod, host: ModelHost, kind: str, dice: random.Random, number: int) -> Kill:
    """One download with one kill. Raises AssertionError when anything is not as it should be."""
    path, data = f"/{number}", content(SIZE_BYTES, dice.randrange(2**32))
    digest = hashlib.sha256(data).hexdigest()
    url = host.add(path, data, throttle=LINE_BYTES_PER_SECOND)
    artifact = Artifact(url, "checkpoints", f"{number}.ckpt", len(data), digest)
    target = pod.file_of(artifact)
    with _Watch(target, len(data)):
        pod.ask_for(Preset(f"P{number}", "p", "image", "", (artifact,)))
        moment = dice.randrange(len(data))
        wait_for(lambda: host.bytes_sent(path) > moment, "the moment", STUCK_SECONDS)
        time.sleep(dice.uniform(0, PASSED_SECONDS))
        done = host.bytes_sent(path)
        KINDS[kind](pod, dice)
        still = _seconds_until_bytes_come(target)
        wait_for(target.exists, "the file", END_SECONDS)
        wait_for(lambda: not journal.lease_file(target).exists(), "the lease to be given back", STUCK_SECONDS)
    assert hashlib.sha256(target.read_bytes()).hexdigest() == digest, "the file is not what the host has"
    assert [entry.name for entry in target.parent.iterdir()] == [target.name], "something was left behind"
    refetched = host.bytes_sent(path) - len(data)
    assert refetched <= REFETCHED_MAX_BYTES, f"{refetched} bytes were fetched twice"
    target.unlink()
    return Kill(kind, min(done, len(data)), refetched, still)


def _seconds_until_bytes_come(target: Path) -> float:
    """From now on. What the host counts would not do: it goes on for a while to send to whom is dead."""
    begun = time.time()

    def is_written() -> bool:
        with contextlib.suppress(FileNotFoundError):
            return journal.part_file(target).stat().st_mtime > begun + DYING_SECONDS
        return target.exists()

    return wait_for(is_written, "bytes to come again", STUCK_SECONDS)


class _Watch:
    """Looks whether there is ever less than the whole file under its name."""

    def __init__(self, target: Path, size: int) -> None:
        self._target, self._size = target, size
        self._over = threading.Event()
        self._seen: set[int] = set()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        assert self._seen <= {self._size}, f"a partial file had the final name: {self._seen} of {self._size} bytes"

    def _look(self) -> None:
        while not self._over.wait(0.002):
            try:
                self._seen.add(self._target.stat().st_size)
            except FileNotFoundError:
                continue


def table(kills: list[Kill]) -> str:
    lines = ["kind    kills  refetched MiB: median  worst   seconds still: median  worst"]
    for kind in KINDS:
        of_kind = [kill for kill in kills if kill.kind == kind]
        if of_kind:
            refetched = [kill.refetched_bytes / MIB for kill in of_kind]
            still = [kill.still_seconds for kill in of_kind]
            lines.append(
                f"{kind:<7} {len(of_kind):>5}  {statistics.median(refetched):>21.1f} {max(refetched):>6.1f}"
                f"   {statistics.median(still):>21.1f} {max(still):>6.1f}"
            )
    return "\n".join(lines)
