"""`/api/models/duplicates`, `/api/models/{id}/place`: files that are the same under several names."""

from typing import Annotated

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from dashboard.answers import json_answer, read_body
from dashboard.endpoint import Endpoint
from dashboard.listing import Duplicates
from dashboard.suite import suite_of
from services.artifacts import Sha256, model_id
from services.errors import Conflict
from services.placing import How


class DuplicateList(Struct, frozen=True):
    """`wasted_bytes`: what would be free if each were there once."""

    groups: tuple[Duplicates, ...]
    wasted_bytes: int


class SameFiles(Struct, frozen=True, forbid_unknown_fields=True):
    sha256: Sha256


class United(Struct, frozen=True):
    freed_bytes: int


class Place(Struct, frozen=True, forbid_unknown_fields=True):
    """`link`: it has both names then, and takes no more space."""

    folder: Annotated[str, Meta(max_length=240)]
    name: Annotated[str, Meta(max_length=2000)]
    how: How = "link"


class Placed(Struct, frozen=True):
    id: str
    folder: str
    name: str


async def list_duplicates(request: Request) -> Response:
    groups = (await suite_of(request).library.listing()).duplicates()
    return json_answer(DuplicateList(groups, sum(group.wasted_bytes for group in groups)))


async def unite(request: Request) -> Response:
    suite = suite_of(request)
    same = await read_body(request, SameFiles)
    return json_answer(United(await suite.files.unite(same.sha256)))


async def place(request: Request) -> Response:
    suite = suite_of(request)
    wanted = await read_body(request, Place)
    new_id = model_id(wanted.folder, wanted.name)
    if suite.downloads.is_moving(new_id):
        # What comes in would take its place.
        raise Conflict(f"{wanted.folder}/{wanted.name} is being downloaded: cancel that first")
    await suite.files.place(request.path_params["id"], wanted.folder, wanted.name, wanted.how)
    suite.downloads.touch([request.path_params["id"], new_id])
    return json_answer(Placed(new_id, wanted.folder, wanted.name), 201)


ENDPOINTS = (
    Endpoint("GET", "/api/models/duplicates", list_duplicates, "Files with the same bytes", {200: DuplicateList}),
    Endpoint(
        "POST",
        "/api/models/duplicates",
        unite,
        "Make files with the same bytes one, under all their names",
        {200: United},
        body=SameFiles,
        errors=(404, 409, 503),
    ),
    Endpoint(
        "POST",
        "/api/models/{id}/place",
        place,
        "Give a model another name or folder",
        {201: Placed},
        body=Place,
        errors=(404, 409, 503, 507),
    ),
)
