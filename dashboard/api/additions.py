"""`POST /api/models/`: a model from its address, or from the page that shows it."""

import asyncio
from typing import Annotated

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from dashboard.answers import json_answer, read_body
from dashboard.api.presets import begin_install
from dashboard.endpoint import Endpoint, Query
from dashboard.messages import InstallMessage
from dashboard.suite import suite_of
from services import installs, presets
from services.artifacts import Artifact, Sha256
from services.errors import Conflict, InvalidRequest
from services.model_folders import model_folders
from services.resolver import Described, Trouble

URL_MAX = 4000


class NewModel(Struct, frozen=True, forbid_unknown_fields=True):
    """`url`: of the file, or of its page on Hugging Face or Civitai. None: what the host says of it."""

    url: Annotated[str, Meta(min_length=1, max_length=URL_MAX)]
    folder: str | None = None
    name: str | None = None
    sha256: Sha256 | None = None


class LookedUp(Struct, frozen=True):
    """What would be added: None where the host does not say. `trouble`: why it cannot be had."""

    url: str
    name: str | None
    folder: str | None
    size_bytes: int | None
    sha256: str | None
    trouble: Trouble | None


async def look_up(request: Request) -> Response:
    """Asks the host only; nothing is kept of it."""
    url = request.query_params.get("url", "")
    if not 0 < len(url) <= URL_MAX:
        raise InvalidRequest(f"'url' must be an address of at most {URL_MAX} characters")
    found = await suite_of(request).planner.describe(url)
    if isinstance(found, Trouble):
        return json_answer(LookedUp(url, None, None, None, None, found))
    return json_answer(LookedUp(found.url, found.name, found.folder, found.size_bytes, found.sha256, None))


async def add(request: Request) -> Response:
    suite = suite_of(request)
    asked = await read_body(request, NewModel)
    found = await suite.planner.describe(asked.url)
    if isinstance(found, Trouble):
        if found.kind != "unreachable":
            raise InvalidRequest(found.message, {"kind": found.kind, "page": found.page, "token": found.token})
        # It may answer later, and all that is needed may have been said.
        found = Described(await asyncio.to_thread(suite.planner.link, asked.url))
    folder, name = asked.folder or found.folder, asked.name or found.name
    known = await asyncio.to_thread(model_folders, suite.settings.comfyui_dir)
    if folder is None or folder not in known:
        said = f"'{folder[:100]}' is no model folder" if folder else "the address does not say what kind of model it is"
        raise InvalidRequest(f"{said}: choose a folder", {"folders": known})
    if name is None:
        raise InvalidRequest("the address does not say what the file is called: choose a name")
    artifact = Artifact(found.url, folder, name, found.size_bytes, asked.sha256 or found.sha256)
    presets.check_file(artifact)
    shelf = await suite.library.shelf()
    here = shelf.models.get(artifact.id)
    if here is not None and shelf.view.is_another(artifact, here.size_bytes):
        raise Conflict(f"another file named {name} lies in {folder}/ already: choose another name, or delete it first")
    return await begin_install(suite, installs.added(artifact))


ENDPOINTS = (
    Endpoint(
        "POST",
        "/api/models/",
        add,
        "Add a model by its address",
        {200: InstallMessage, 202: InstallMessage},
        body=NewModel,
        errors=(409, 503, 507),
    ),
    Endpoint(
        "GET",
        "/api/models/lookup",
        look_up,
        "What lies at an address",
        {200: LookedUp},
        query=(Query("url", str, "Of a file, or of its page on Hugging Face or Civitai"),),
        errors=(422,),
    ),
)
