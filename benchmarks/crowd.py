"""Many listeners, in processes of their own."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from tests.running import RunningSuite


class Crowd:
    """`heard` is filled when the crowd has gone."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []


@contextlib.contextmanager
def watching(suite: RunningSuite, cookie: str, count: int, processes: int = 2) -> Iterator[Crowd]:
    """`count` sockets that are subscribed to downloads, until the end."""
    crowd = Crowd()
    shares = [count // processes + (number < count % processes) for number in range(processes)]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.listeners", suite.address, cookie, str(share)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for share in shares
        if share
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", "a listener did not get in"
        yield crowd
        for process in started:
            output, _ = process.communicate("", timeout=60)
            crowd.heard.append(json.loads(output))
    finally:
        for process in started:
            process.kill()
            process.wait()


def cookie_of(client: Any) -> str:
    return "; ".join(f"{name}={value}" for name, value in client.cookies.items())
