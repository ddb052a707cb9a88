"""A body that is a file: received on the container's own disk, because many at once would not fit the memory."""

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.requests import Request

from dashboard.answers import TooLarge, WrongMediaType
from dashboard.suite import suite_of
from services.errors import InvalidRequest

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


@contextlib.asynccontextmanager
async def received(request: Request, limit: int) -> AsyncIterator[Path]:
    """The body as a file, for as long as the block lasts. Raises TooLarge, WrongMediaType, InvalidRequest."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() in FORMS:
        raise WrongMediaType("send the file itself as the body, not as part of a form")
    folder = suite_of(request).settings.state_dir / "dashboard"
    with tempfile.NamedTemporaryFile(prefix=".received-", dir=folder) as file:
        size = 0
        async for piece in request.stream():
            size += len(piece)
            if size > limit:
                raise TooLarge(f"the file is larger than {limit // 1024**2} MiB")
            file.write(piece)
        file.flush()
        if not size:
            raise InvalidRequest("the body is empty: send the file as the body")
        yield Path(file.name)
