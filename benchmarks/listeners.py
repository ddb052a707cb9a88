"""`python -m benchmarks.listeners ADDRESS COOKIE COUNT`: dashboards that watch downloads.

Says `ready` when all are subscribed. At the end of its input it prints what each heard, as JSON: the delays of the
messages that carry the time they were made as their speed, and how many each listener got.
"""

import asyncio
import json
import sys
import time

from websockets.asyncio.client import ClientConnection, connect


class Listeners:
    def __init__(self) -> None:
        self.delays: list[float] = []
        self.heard: list[int] = []
        self.lost = 0

    async def listen(self, address: str, cookie: str, subscribed: asyncio.Semaphore) -> None:
        place = len(self.heard)
        self.heard.append(0)
        async with connect(
            address.replace("http", "ws") + "/ws",
            origin=address,  # type: ignore[arg-type]
            additional_headers={"Cookie": cookie},
            compression=None,
            open_timeout=60,
            ping_interval=None,
        ) as socket:
            await socket.send('{"type": "subscribe", "channels": ["downloads"]}')
            await socket.recv()
            subscribed.release()
            await self._count(socket, place)

    async def _count(self, socket: ClientConnection, place: int) -> None:
        try:
            async for text in socket:
                now = time.time()
                data = json.loads(text)["data"]
                self.heard[place] += 1
                if data.get("bytes_per_second", 0) > 1e9:
                    self.delays.append(now - data["bytes_per_second"])
        except OSError:
            self.lost += 1


async def main(address: str, cookie: str, count: int) -> None:
    listeners, subscribed = Listeners(), asyncio.Semaphore(0)
    tasks = []
    for number in range(count):
        tasks.append(asyncio.create_task(listeners.listen(address, cookie, subscribed)))
        if number % 50 == 49:
            await asyncio.sleep(0.2)
    for _ in range(count):
        await subscribed.acquire()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(json.dumps({"delays": listeners.delays, "heard": listeners.heard, "lost": listeners.lost}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
