"""`/api/models/`"""

from typing import Annotated

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from dashboard.answers import json_answer, read_body, whole_number
from dashboard.endpoint import Endpoint, Query
from dashboard.messages import ModelList, ModelType, ModelTypes, models
from dashboard.suite import suite_of
from services.models import folder_sizes

PAGE = 100
PAGE_MAX = 1000
OFFSET_MAX = 10**9


class ModelIds(Struct, frozen=True, forbid_unknown_fields=True):
    ids: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(min_length=1, max_length=1000)]


class DeletedModels(Struct, frozen=True):
    removed: tuple[str, ...]
    not_found: tuple[str, ...]
    freed_bytes: int


async def list_models(request: Request) -> Response:
    suite = suite_of(request)
    shelf = await suite.library.shelf()
    limit = whole_number(request, "limit", PAGE, 1, PAGE_MAX)
    offset = whole_number(request, "offset", 0, 0, OFFSET_MAX)
    folder, search = request.query_params.get("folder", ""), request.query_params.get("search", "")

    def make() -> ModelList:
        found = shelf.find_models(folder, search)
        shown = models(found[offset : offset + limit], dict(shelf.view.verified), shelf.catalogue)
        return ModelList(shown, len(found), sum(file.size_bytes for file in found))

    return suite.answers.models.answer(request, (shelf.version, limit, offset, folder, search), make)


async def list_types(request: Request) -> Response:
    shelf = await suite_of(request).library.shelf()
    sizes = folder_sizes(shelf.models.values())
    return json_answer(ModelTypes(tuple(ModelType(name, *figures) for name, figures in sorted(sizes.items()))))


async def delete_models(request: Request) -> Response:
    suite = suite_of(request)
    body = await read_body(request, ModelIds)
    removed, unknown = await suite.library.delete_models(list(body.ids))
    suite.downloads.touch(file.id for file in removed)
    freed = sum(file.size_bytes for file in removed)
    return json_answer(DeletedModels(tuple(file.name for file in removed), tuple(unknown), freed))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/models/",
        list_models,
        "Model files on the volume",
        {200: ModelList},
        query=(
            Query("folder", str, "Only this model folder"),
            Query("search", str, "Only names that hold this"),
            Query("limit", int, f"At most {PAGE_MAX}"),
            Query("offset", int, "How many to skip"),
        ),
        errors=(422,),
    ),
    Endpoint("GET", "/api/models/types", list_types, "Model folders with their sizes", {200: ModelTypes}),
    Endpoint(
        "DELETE",
        "/api/models/",
        delete_models,
        "Delete model files",
        {200: DeletedModels},
        body=ModelIds,
        errors=(503,),
    ),
)
