"""One download by one program, measured from outside; and many of them, in turns."""

import json
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Timer
from time import monotonic
from typing import Any

from benchmarks.downloads import clients, files, stopwatch
from benchmarks.downloads.clients import Task
from tests.running import ROOT

TIMEOUT_SECONDS = 180.0


@dataclass(frozen=True)
class Plan:
    """`memory`: a folder of a file system that no disk is behind."""

    rounds: int
    memory: Path


@dataclass(frozen=True)
class Run:
    """What one download took. `threads`: CPU seconds of some of our threads."""

    size_bytes: int
    seconds: float
    user_seconds: float
    system_seconds: float
    host_seconds: float = 0.0
    threads: Mapping[str, float] = field(default_factory=dict)

    @property
    def mib_per_second(self) -> float:
        return self.size_bytes / files.MIB / self.seconds

    @property
    def cpu_seconds(self) -> float:
        return self.user_seconds + self.system_seconds

    @property
    def cpu_seconds_per_gb(self) -> float:
        return self.cpu_seconds / self.size_bytes * 1e9

    @property
    def cores_busy(self) -> float:
        """How much of the machine worked, from 0 to 1."""
        return (self.cpu_seconds + self.host_seconds) / self.seconds / (os.cpu_count() or 1)


def in_turns(tasks: Mapping[str, Task], rounds: int, folder: Path) -> dict[str, list[Run]]:
    """Every client once in each round, each round beginning with another."""
    names, runs = list(tasks), {name: list[Run]() for name in tasks}
    for number in range(rounds):
        begin = number % len(names)
        for name in names[begin:] + names[:begin]:
            found = download(name, tasks[name], folder)
            runs[name].append(found)
            print(
                f"{name}: {found.mib_per_second:.0f} MiB/s, {found.cpu_seconds:.2f} s of CPU, "
                f"the host's {found.host_seconds:.2f} s",
                flush=True,
            )
    return runs


def download(client: str, task: Task, folder: Path) -> Run:
    """Into `folder`, which is not there before and after. Raises RuntimeError when the file did not come right."""
    folder.mkdir()
    try:
        # Nobody pays for what another left to be written.
        os.sync()
        command, words = clients.CLIENTS[client](task, folder)
        host_before = _host_seconds(task)
        found = measured(command, words, clients.environment(task, folder), task.served.size_bytes)
        found = replace(found, host_seconds=_host_seconds(task) - host_before)
        files.check(next(path for path in folder.rglob(task.name) if path.is_file()), task.served)
    finally:
        shutil.rmtree(folder)
    return found


def measured(command: Sequence[str], words: bytes, environment: Mapping[str, str], size_bytes: int) -> Run:
    """Runs `command` with `words` on its stdin. Raises RuntimeError when it fails, or takes forever.

    The clock starts with the process, or when it says so (stopwatch.py), and ends when it is gone.
    """
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as stdin:
        stdin.write(words)
        stdin.seek(0)
        began = monotonic()
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=stdin, stdout=subprocess.PIPE, stderr=errors
        )
        output, usage = _outlived(process)
        ended = monotonic()
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{command[:3]} ended with {process.returncode}: {errors.read()[-2000:].decode()}")
    said = _said(output)
    user, system = said.get(stopwatch.CPU, (0.0, 0.0))
    return Run(
        size_bytes=size_bytes,
        seconds=ended - said.get(stopwatch.BEGAN, began),
        user_seconds=usage.ru_utime - user,
        system_seconds=usage.ru_stime - system,
        threads=said.get("threads", {}),
    )


def _outlived(process: "subprocess.Popen[bytes]") -> tuple[bytes, resource.struct_rusage]:
    """What it wrote, and what it used, once it is gone."""
    limit = Timer(TIMEOUT_SECONDS, process.kill)
    limit.start()
    try:
        assert process.stdout is not None
        with process.stdout as stdout:
            output = stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        limit.cancel()
    return output, usage


def _said(output: bytes) -> dict[str, Any]:
    """What a Python client told of itself."""
    said: dict[str, Any] = {}
    for line in output.splitlines():
        if line.startswith(b"{"):
            said |= json.loads(line)
    return said


def _host_seconds(task: Task) -> float:
    return sum(host.cpu_seconds() for host in task.hosts)


def median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def medians(runs: Mapping[str, Sequence[Run]], beside: str) -> dict[str, dict[str, float]]:
    """The figures of each client. `beside`: whom the ratios are to, of the same round."""
    return {name: _medians(its, runs[beside]) for name, its in runs.items()}


def _medians(runs: Sequence[Run], others: Sequence[Run]) -> dict[str, float]:
    rates = [run.mib_per_second for run in runs]
    ratios = [run.mib_per_second / other.mib_per_second for run, other in zip(runs, others, strict=True)]
    return {
        "mib_per_second": median(rates),
        "slowest": min(rates),
        "fastest": max(rates),
        "ratio": median(ratios),
        "ratio_of_medians": median(rates) / median([other.mib_per_second for other in others]),
        "cpu_seconds": median([run.cpu_seconds for run in runs]),
        "user_seconds": median([run.user_seconds for run in runs]),
        "system_seconds": median([run.system_seconds for run in runs]),
        "cpu_seconds_per_gb": median([run.cpu_seconds_per_gb for run in runs]),
        "host_seconds": median([run.host_seconds for run in runs]),
        "cores_busy": median([run.cores_busy for run in runs]),
        "size_mib": runs[0].size_bytes / files.MIB,
    }


def threads(runs: Sequence[Run]) -> dict[str, float]:
    """The CPU seconds of each kind of thread of ours; the lines have what the others have not."""
    names = runs[0].threads
    found = {name: median([run.threads[name] for run in runs]) for name in names}
    return {**found, "lines": median([run.cpu_seconds - sum(run.threads.values()) for run in runs])}
