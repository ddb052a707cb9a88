"""A host that gives each connection 25 MiB/s, and meters every byte: how much of what 16 could bring comes."""

import shutil
from typing import Any

from benchmarks.downloads import files, runs
from benchmarks.downloads.clients import AIOHTTP, ARIA2C, CURL, HUB, OURS, REPOSITORY, Task
from benchmarks.downloads.hosts import model_host
from benchmarks.downloads.runs import Plan

RATE = 25 * files.MIB
CONNECTIONS = 16
SIZE = 2048 * files.MIB
# For those that use one connection: their speed is the same after ten seconds as after a minute and a half.
SMALL_SIZE = 256 * files.MIB


def measure(plan: Plan) -> dict[str, Any]:
    work = files.on_disk("bench-downloads")
    served = work / "served"
    served.mkdir()
    large, small = files.make(served / "large.ckpt", SIZE), files.make(served / "small.ckpt", SMALL_SIZE)
    throttle = ("--throttle", str(RATE))
    try:
        with model_host(served, *throttle) as host, model_host(served, *throttle, "--hugging-face", REPOSITORY) as hub:
            tasks = {
                name: Task(host.urls[file.path.name], file, hub, (host, hub))
                for name, file in ((OURS, large), (ARIA2C, large), (CURL, small), (HUB, small), (AIOHTTP, small))
            }
            found = runs.in_turns(tasks, plan.rounds, work / "target")
    finally:
        shutil.rmtree(work)
    return {
        "clients": runs.medians(found, beside=ARIA2C),
        "threads": runs.threads(found[OURS]),
        "cap_mib_per_second": CONNECTIONS * RATE / files.MIB,
        "file_system": files.file_system(work.parent),
        "rounds": plan.rounds,
    }
