"""What ComfyUI made, file by file: handed out by nginx after the login and the path were checked."""

import asyncio
import mimetypes
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from dashboard.suite import suite_of
from services.comfyui import Media, media_of
from services.errors import NotFound, WorkspaceUnavailable
from services.output_files import OutputFiles

T = TypeVar("T")
# What a browser shows by itself; everything else is downloaded, so that no file of ours becomes a page.
_SHOWN: frozenset[Media] = frozenset({"image", "video", "audio"})


async def output_file(request: Request) -> Response:
    """`/outputs/{path}`. Raises NotFound, InvalidName."""
    path = request.path_params["path"]
    await suite_of(request).outputs.figures(path)
    return _handed_to_nginx("output", path)


async def temp_file(request: Request) -> Response:
    """`/temp/{path}`: pictures that ComfyUI shows but does not keep. Raises NotFound, InvalidName."""
    suite, path = suite_of(request), request.path_params["path"]
    try:
        OutputFiles(suite.settings.state_dir / "comfyui" / "temp").figures(path)
    except (NotFound, WorkspaceUnavailable):
        raise NotFound(f"there is no such file any more: '{path[:200]}'") from None
    return _handed_to_nginx("temp", path)


async def thumbnail(request: Request) -> Response:
    """`/thumbnails/{path}?v=`: a small picture of an output. Raises NotFound, InvalidName, ThumbnailFailed."""
    suite, path = suite_of(request), request.path_params["path"]
    try:
        made, mtime_ns = await _while_there(request, suite.outputs.small_picture(path))
    except ClientDisconnect:
        return Response(status_code=400)
    is_known = request.query_params.get("v") == str(mtime_ns)
    base = "thumbnails" if made.is_relative_to(suite.thumbnails.kept) else "local/thumbnails"
    headers = {
        "X-Accel-Redirect": f"/_suite/files/{base}/{made.parent.name}/{made.name}",
        "Cache-Control": "private, max-age=31536000, immutable" if is_known else "private, no-cache",
    }
    return Response(headers=headers, media_type="image/webp")


async def _while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """`work`, given up when whoever asked for it goes. Raises ClientDisconnect."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _handed_to_nginx(base: str, path: str) -> Response:
    media = media_of(path)
    headers = {
        "X-Accel-Redirect": f"/_suite/files/{base}/{quote(path)}",
        "Cache-Control": "private, max-age=3600",
        # Whatever a node wrote there, it runs nothing here.
        "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
    }
    if media not in _SHOWN:
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(Path(path).name)}"
    return Response(headers=headers, media_type=_media_type(path))


def _media_type(path: str) -> str:
    guessed = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return (
        guessed
        if guessed.startswith(("image/", "video/", "audio/")) and "svg" not in guessed
        else "application/octet-stream"
    )
