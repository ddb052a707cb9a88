"""`/api/downloads/`"""

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from dashboard.answers import json_answer
from dashboard.endpoint import Endpoint
from dashboard.messages import DownloadList, download_list
from dashboard.suite import Suite, suite_of
from services.artifacts import Artifact
from services.errors import NotFound


class Cancelled(Struct, frozen=True):
    """Ids of the files whose download was cancelled; what was fetched of them is kept."""

    cancelled: tuple[str, ...]


async def list_downloads(request: Request) -> Response:
    shelf = await suite_of(request).library.shelf()
    return json_answer(DownloadList(download_list(shelf.catalogue, shelf.view)))


async def cancel_download(request: Request) -> Response:
    suite = suite_of(request)
    artifacts = await _unfinished(suite, request.path_params["id"])
    ids = [artifact.id for artifact in artifacts]
    await suite.library.cancel(artifacts)
    await suite.stop_downloads(ids)
    suite.downloads.touch(ids)
    return json_answer(Cancelled(tuple(ids)))


async def _unfinished(suite: Suite, id_: str) -> list[Artifact]:
    """The files still to come of the preset `id_`, or the one file `id_`. Raises NotFound."""
    suite.library.forget()
    shelf = await suite.library.shelf()
    install = shelf.view.installs.get(id_)
    if install is not None and install.completed_at is None:
        return [file for file in install.files if not shelf.view.is_present(file)]
    if id_ in shelf.catalogue.presets:
        raise NotFound(f"preset '{id_}' is not being installed")
    return [await suite.library.artifact(id_)]


ENDPOINTS = (
    Endpoint("GET", "/api/downloads/", list_downloads, "Installs that are not finished", {200: DownloadList}),
    Endpoint(
        "DELETE",
        "/api/downloads/{id}",
        cancel_download,
        "Cancel a file or an install",
        {200: Cancelled},
        errors=(404, 503),
    ),
)
