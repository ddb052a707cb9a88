"""`/api/downloads/`"""

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from dashboard.answers import json_answer
from dashboard.endpoint import Endpoint
from dashboard.messages import DownloadList, download_list
from dashboard.suite import Suite, suite_of
from services import installs
from services.artifacts import Artifact
from services.errors import NotFound
from services.installs import Install, View


class Cancelled(Struct, frozen=True):
    """Ids of the files whose download was cancelled; what was fetched of them is kept.

    Of a preset, those that no other preset waits for: the others go on for it.
    """

    cancelled: tuple[str, ...]


async def list_downloads(request: Request) -> Response:
    shelf = await suite_of(request).library.shelf()
    return json_answer(DownloadList(download_list(shelf.catalogue, shelf.view)))


async def cancel_download(request: Request) -> Response:
    suite, id_ = suite_of(request), request.path_params["id"]
    suite.library.forget()
    shelf = await suite.library.shelf()
    install = shelf.view.installs.get(id_)
    if install is not None and install.completed_at is None:
        ids = await _cancel_install(suite, install, shelf.view)
    elif id_ in shelf.catalogue.presets:
        raise NotFound(f"preset '{id_}' is not being installed")
    else:
        ids = await _cancel_file(suite, await suite.library.artifact(id_))
    return json_answer(Cancelled(ids))


async def _cancel_install(suite: Suite, install: Install, view: View) -> tuple[str, ...]:
    """What other presets want as well goes on."""
    await suite.library.cancel(install.preset_id)
    ids = [file.id for file in installs.wanted_only_by(install, view)]
    await suite.stop_downloads(ids)
    suite.downloads.touch(file.id for file in install.files)
    return tuple(ids)


async def _cancel_file(suite: Suite, artifact: Artifact) -> tuple[str, ...]:
    """For every preset that wants it."""
    await suite.library.cancel_file(artifact)
    await suite.stop_downloads([artifact.id])
    suite.downloads.touch([artifact.id])
    return (artifact.id,)


ENDPOINTS = (
    Endpoint("GET", "/api/downloads/", list_downloads, "Installs that are not finished", {200: DownloadList}),
    Endpoint(
        "DELETE",
        "/api/downloads/{id}",
        cancel_download,
        "Cancel a file or an install",
        {200: Cancelled},
        errors=(404, 503, 507),
    ),
)
