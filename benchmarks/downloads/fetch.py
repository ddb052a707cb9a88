"""`python -m benchmarks.downloads.fetch [--unhashed]`: our engine alone in a process, as worker/downloads.py uses it.

The files come as JSON on stdin, one after the other into WORKSPACE. Nobody hears of the progress: Redis is left out.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from datetime import datetime

import msgspec

from benchmarks.downloads import stopwatch
from services import settings
from services.artifacts import Artifact
from services.bandwidth import Bandwidth
from services.credentials import Credentials
from services.downloads import Fetcher, fetcher
from services.downloads.digest import Digest
from services.pod import pod_id
from services.proxies import Proxies
from services.sources import Sources
from services.workspace import Workspace


class Timed(Digest):
    """Adds up what its threads have worked."""

    cpu_seconds = 0.0

    def _run(self) -> None:
        super()._run()
        Timed.cpu_seconds += time.thread_time()


class Unhashed(Digest):
    """Takes no byte, and holds nothing up."""

    @contextlib.contextmanager
    def running(self) -> Iterator[Digest]:
        yield self

    def take(self, buffer: memoryview, count: int, position: int) -> memoryview:
        return buffer

    def has_reached(self, length: int) -> bool:
        return True


def main(arguments: list[str]) -> None:
    is_hashed = "--unhashed" not in arguments
    # The engine has no switch for it.
    vars(fetcher)["Digest"] = Timed if is_hashed else Unhashed
    config = settings.from_environment()
    bandwidth, workspace = Bandwidth.from_settings(config), Workspace(config.workspace)
    engine = Fetcher(
        workspace=workspace,
        sources=Sources.from_settings(config, Credentials(config, workspace)),
        reserve_bytes=config.disk_reserve_bytes,
        report=lambda progress: None,
        stop_reason=lambda artifact_id: None,
        pod=pod_id(config.state_dir),
        proxies=Proxies.from_settings(config),
        limit=lambda: bandwidth.share(datetime.now(), 1),
    )
    artifacts = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Artifact])
    main_before = time.thread_time()
    stopwatch.begin()
    for artifact in artifacts:
        result = engine.fetch(artifact if is_hashed else msgspec.structs.replace(artifact, sha256=None))
        assert not is_hashed or result.checked_against == "sha256"
    stopwatch.end(threads=_threads(time.thread_time() - main_before))


def _threads(main: float) -> dict[str, float]:
    """Who worked how long, in CPU seconds; what is left of the process's are the lines."""
    return {"digest": Timed.cpu_seconds, "main": main}


if __name__ == "__main__":
    main(sys.argv[1:])
