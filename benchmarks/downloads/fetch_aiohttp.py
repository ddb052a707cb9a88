"""`python -m benchmarks.downloads.fetch_aiohttp URL FILE`: a download the way dashboards that use aiohttp do it.

One stream, pieces of 8 KiB written to the final name as they come, and a JSON message of progress for each of them.
"""

import asyncio
import json
import sys

import aiohttp

from benchmarks.downloads import stopwatch

PIECE_BYTES = 8192


async def main(url: str, file: str) -> None:
    messages: asyncio.Queue[str] = asyncio.Queue()
    listener = asyncio.create_task(_listen(messages))
    stopwatch.begin()
    timeout = aiohttp.ClientTimeout(total=3600)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
        response.raise_for_status()
        total, done = int(response.headers["Content-Length"]), 0
        with open(file, "wb") as target:
            async for piece in response.content.iter_chunked(PIECE_BYTES):
                target.write(piece)
                done += len(piece)
                message = {
                    "type": "progress",
                    "file": file,
                    "done": done,
                    "total": total,
                    "percent": 100 * done / total,
                }
                messages.put_nowait(json.dumps(message))
    await messages.join()
    listener.cancel()


async def _listen(messages: asyncio.Queue[str]) -> None:
    while True:
        await messages.get()
        messages.task_done()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
    stopwatch.end()
