"""The worker's job processes."""

import json
from collections.abc import Callable

from tests.fakes.model_host import ModelHost
from tests.running import RunningSuite


def test_what_a_download_says_is_in_the_log_of_the_volume(
    new_suite: Callable[..., RunningSuite], model_host: ModelHost
) -> None:
    suite = new_suite().start()
    url = model_host.add("/small", b"x" * 1000)
    file = {"url": url, "folder": "checkpoints", "name": "small.ckpt", "size_bytes": 1000}
    suite.add_preset({"id": "SMALL", "name": "Small", "kind": "image", "description": "Small.", "files": [file]})
    with suite.client() as client:
        assert client.post("/api/presets/SMALL/install").status_code == 202
        status = "/api/presets/SMALL/status"
        suite.wait_for(lambda: client.get(status).json()["state"] == "installed", "the download to end")
    log = suite.workspace / "logs" / "downloads.log"

    def said() -> set[str]:
        return {json.loads(line)["event"] for line in log.read_text(encoding="utf-8").splitlines()}

    suite.wait_for(lambda: said() >= {"download_started", "download_finished"}, "the job's last words")
