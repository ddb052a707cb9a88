"""nginx over TLS on this machine, as fast as it goes: what each program costs, for then the cores are the limit."""

import shutil
from typing import Any

from benchmarks.downloads import files, runs
from benchmarks.downloads.clients import AIOHTTP, ARIA2C, CURL, HUB, OURS, REPOSITORY, UNHASHED, Task
from benchmarks.downloads.hosts import model_host, nginx_with_tls
from benchmarks.downloads.runs import Plan
from tests.fakes.model_host.tls import authority

SIZE = 1024 * files.MIB


def measure(plan: Plan) -> dict[str, Any]:
    work = files.on_disk("bench-downloads")
    target = files.in_memory(plan.memory, "bench-downloads-target", SIZE)
    served = work / "served"
    served.mkdir()
    file = files.make(served / "file.ckpt", SIZE)
    try:
        with nginx_with_tls(served, work) as host:
            url = host.urls[file.path.name]
            with model_host(served, "--hugging-face", REPOSITORY, "--redirect", url) as hub:
                task = Task(url, file, hub, (host, hub), authority().file)
                runs.download(CURL, task, target / "warm")
                tasks = dict.fromkeys((CURL, UNHASHED, OURS, ARIA2C, HUB, AIOHTTP), task)
                found = runs.in_turns(tasks, plan.rounds, target / "round")
                on_disk = runs.in_turns(dict.fromkeys((CURL, OURS), task), plan.rounds, work / "round")
        kinds = files.file_system(target), files.file_system(work)
    finally:
        shutil.rmtree(work)
        shutil.rmtree(target)
    return {
        "clients": runs.medians(found, beside=CURL),
        "threads": runs.threads(found[OURS]),
        "file_system": kinds[0],
        "on_disk": {"clients": runs.medians(on_disk, beside=CURL), "file_system": kinds[1]},
        "rounds": plan.rounds,
    }
