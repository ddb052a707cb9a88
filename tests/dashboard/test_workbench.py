import asyncio
import threading

import pytest

from dashboard import workbench
from dashboard.workbench import Workbench, WorkbenchFull


async def test_it_gives_what_the_work_gives() -> None:
    bench = Workbench()
    assert await bench.run(sorted, [2, 1], reverse=True) == [2, 1]
    with pytest.raises(ZeroDivisionError):
        await bench.run(divmod, 1, 0)
    bench.close()


async def test_few_work_at_once_and_the_others_wait() -> None:
    bench, lock, at_work, most, go_on = Workbench(), threading.Lock(), 0, 0, threading.Event()

    def work() -> None:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        go_on.wait()
        with lock:
            at_work -= 1

    all_of_it = asyncio.gather(*(bench.run(work) for _ in range(6)))
    await asyncio.sleep(0.1)
    go_on.set()
    await all_of_it
    assert most == workbench.THREADS
    bench.close()


async def test_too_many_are_sent_away_and_those_who_left_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbench, "MAX_WAITING", 1)
    bench, go_on = Workbench(), threading.Event()
    waiting = [asyncio.create_task(bench.run(go_on.wait)) for _ in range(workbench.THREADS + 1)]
    await asyncio.sleep(0)
    with pytest.raises(WorkbenchFull, match="try again"):
        await bench.run(go_on.wait)
    waiting.pop().cancel()
    await asyncio.sleep(0)
    waiting.append(asyncio.create_task(bench.run(go_on.wait)))
    await asyncio.sleep(0)
    go_on.set()
    assert await asyncio.gather(*waiting) == [True] * len(waiting)
    bench.close()
