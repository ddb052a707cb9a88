"""The worker processes, in a whole suite."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from services.artifacts import Artifact
from services.connections import redis_client
from services.jobs import FETCH, DownloadQueue
from services.presets import Preset
from services.workspace import Workspace
from tests.fakes.model_host import ModelHost
from tests.faults.pod import Pod, wait_for
from tests.running import ROOT, RunningSuite


def install_something(suite: RunningSuite, host: ModelHost) -> None:
    url = host.add("/small", b"x" * 1000)
    file = {"url": url, "folder": "checkpoints", "name": "small.ckpt", "size_bytes": 1000}
    suite.add_preset({"id": "SMALL", "name": "Small", "kind": "image", "description": "Small.", "files": [file]})
    with suite.client() as client:
        assert client.post("/api/presets/SMALL/install").status_code == 202
        status = "/api/presets/SMALL/status"
        suite.wait_for(lambda: client.get(status).json()["state"] == "installed", "the download to end")


def test_what_a_download_says_is_in_the_log_of_the_volume(
    new_suite: Callable[..., RunningSuite], model_host: ModelHost
) -> None:
    suite = new_suite().start()
    install_something(suite, model_host)
    log = suite.workspace / "logs" / "downloads.log"

    def said() -> set[str]:
        return {json.loads(line)["event"] for line in log.read_text(encoding="utf-8").splitlines()}

    suite.wait_for(lambda: said() >= {"download_started", "download_finished"}, "the job's last words")


def test_the_documented_look_at_the_queue_sees_it_and_its_workers(
    new_suite: Callable[..., RunningSuite], model_host: ModelHost
) -> None:
    suite = new_suite(DOWNLOAD_WORKERS="2").start()
    # RQ knows a queue from its first job on.
    install_something(suite, model_host)
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    command = re.search(r"^rq info [^#\n]*", operations, re.MULTILINE)
    assert command is not None

    def shown() -> str:
        # In a checkout STATE_DIR is a path relative to it.
        return subprocess.run(
            ["sh", "-c", command[0]],
            cwd=suite.state.parent,
            env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "STATE_DIR": suite.state.name},
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout

    suite.wait_for(lambda: "2 workers, 1 queues" in shown(), "both workers to be seen", 30)
    text = shown()
    assert re.search(r"^downloads +", text, re.MULTILINE)
    assert re.search(r"^worker-1-", text, re.MULTILINE)
    assert re.search(r"^worker-2-", text, re.MULTILINE)


def test_a_file_that_cannot_be_had_is_one_line_of_the_log_and_an_accident_has_its_traceback(
    workspace: Workspace, model_host: ModelHost
) -> None:
    with Pod(workspace.root) as pod:
        gone = Artifact(model_host.url("/gone"), "checkpoints", "gone.ckpt", size_bytes=10)
        pod.ask_for(Preset("GONE", "Gone", "image", "", (gone,)))
        wait_for(lambda: "download_failed" in _log(pod), "the download to fail", 60)
        with contextlib.closing(redis_client(pod.config)) as connection:
            # Without what it needs: a mistake of ours.
            DownloadQueue(connection).queue.enqueue(FETCH, "nothing else")
            wait_for(lambda: "exception raised while executing" in _log(pod), "the accident to be logged", 60)
        (raised,) = [line for line in _log(pod).splitlines() if "exception raised" in line]
        assert "TypeError" in raised
        assert "DownloadFailed" not in _log(pod)


def _log(pod: Pod) -> str:
    file = pod.config.logs_dir / "downloads.log"
    return file.read_text(encoding="utf-8") if file.exists() else ""
