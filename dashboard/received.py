"""A body that is a file: received on the container's own disk, because many at once would not fit the memory."""

import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from starlette.requests import Request

from dashboard.answers import TooLarge, WrongMediaType
from dashboard.suite import suite_of
from services.errors import InvalidRequest, NotEnoughSpace
from services.settings import Settings
from services.workspace import is_out_of_space

_PREFIX = ".received-"
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


@contextlib.asynccontextmanager
async def received(request: Request, limit: int) -> AsyncIterator[Path]:
    """The body as a file, for as long as the block lasts. Raises TooLarge, WrongMediaType, InvalidRequest,
    NotEnoughSpace."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() in FORMS:
        raise WrongMediaType("send the file itself as the body, not as part of a form")
    folder = folder_of(suite_of(request).settings)
    with _in_words(), tempfile.NamedTemporaryFile(prefix=_PREFIX, dir=folder) as file:
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


def folder_of(settings: Settings) -> Path:
    return settings.state_dir / "dashboard"


def sweep(folder: Path) -> None:
    """Removes what a dashboard that was killed had begun to receive."""
    for left in folder.glob(f"{_PREFIX}*"):
        left.unlink(missing_ok=True)


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_out_of_space(error):
            raise NotEnoughSpace("no space left on the container's own disk (STATE_DIR) to receive the file") from None
        raise
