"""`/api/models/adopt`"""

from typing import Annotated

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from dashboard.answers import json_answer, read_body
from dashboard.endpoint import Endpoint, Query
from dashboard.live.adoption import AdoptionStatus
from dashboard.suite import suite_of
from services.errors import InvalidRequest


class Adopt(Struct, frozen=True, forbid_unknown_fields=True):
    """`all`: every file whose digest is not known."""

    ids: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=1000)] = ()
    all: bool = False


class Queued(Struct, frozen=True):
    queued: int
    not_found: tuple[str, ...]


class CancelledChecks(Struct, frozen=True):
    cancelled: int


async def adopt(request: Request) -> Response:
    suite, asked = suite_of(request), await read_body(request, Adopt)
    if bool(asked.ids) == asked.all:
        raise InvalidRequest("name the files in 'ids', or set 'all' to true")
    suite.library.forget()
    shelf = await suite.library.shelf()
    ids = [id_ for id_ in shelf.models if id_ not in shelf.view.verified] if asked.all else asked.ids
    found = [shelf.models[id_] for id_ in ids if id_ in shelf.models]
    unknown = tuple(id_ for id_ in ids if id_ not in shelf.models)
    return json_answer(Queued(await suite.adoption.ask(found), unknown), 202)


async def adoption_status(request: Request) -> Response:
    return json_answer(suite_of(request).adoption.status())


async def cancel_adoption(request: Request) -> Response:
    return json_answer(CancelledChecks(await suite_of(request).adoption.cancel(request.query_params.get("id"))))


ENDPOINTS = (
    Endpoint(
        "POST",
        "/api/models/adopt",
        adopt,
        "Compute the digests of files that were copied in by hand",
        {202: Queued},
        body=Adopt,
        errors=(503, 507),
    ),
    Endpoint("GET", "/api/models/adopt", adoption_status, "How far that is", {200: AdoptionStatus}),
    Endpoint(
        "DELETE",
        "/api/models/adopt",
        cancel_adoption,
        "Stop that",
        {200: CancelledChecks},
        query=(Query("id", str, "Only this file"),),
        errors=(503, 507),
    ),
)
