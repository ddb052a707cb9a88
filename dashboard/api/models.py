"""`/api/models/`"""

from typing import Annotated, Any, get_args

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from dashboard.answers import json_answer, read_body, whole_number, yes_or_no
from dashboard.endpoint import Endpoint, Query
from dashboard.listing import Filter, ModelQuery, Order, Sort
from dashboard.messages import ModelList, ModelType, ModelTypes, models
from dashboard.suite import suite_of
from services.errors import InvalidRequest
from services.models import folder_sizes
from services.removals import Kept, freed_bytes

PAGE = 100
PAGE_MAX = 1000
OFFSET_MAX = 10**9


class Deletion(Struct, frozen=True, forbid_unknown_fields=True):
    """`force`: also what installed presets or saved workflows need."""

    ids: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(min_length=1, max_length=1000)]
    force: bool = False


class DeletedModels(Struct, frozen=True):
    """`dry_run`: nothing was done; this is what would be."""

    removed: tuple[str, ...]
    kept: tuple[Kept, ...]
    not_found: tuple[str, ...]
    freed_bytes: int
    dry_run: bool


async def list_models(request: Request) -> Response:
    suite = suite_of(request)
    limit = whole_number(request, "limit", PAGE, 1, PAGE_MAX)
    offset = whole_number(request, "offset", 0, 0, OFFSET_MAX)
    query = model_query(request)
    listing, facts = await suite.library.listing(), suite.library.facts

    def make() -> ModelList:
        shelf, found = listing.shelf, listing.find(query)
        shown = models(found.files[offset : offset + limit], shelf, facts)
        return ModelList(shown, len(found.files), found.total_bytes, shelf.is_complete)

    return suite.answers.models.answer(request, (listing.shelf.version, facts.version, limit, offset, query), make)


def model_query(request: Request) -> ModelQuery:
    """Raises InvalidRequest."""
    given = request.query_params
    return ModelQuery(
        folder=given.get("folder", ""),
        search=given.get("search", ""),
        sort=_one_of(request, "sort", get_args(Sort), "folder"),
        order=_one_of(request, "order", get_args(Order), "asc"),
        filter=_one_of(request, "filter", get_args(Filter), "all"),
    )


def _one_of(request: Request, name: str, allowed: tuple[Any, ...], default: Any) -> Any:
    """Raises InvalidRequest."""
    text = request.query_params.get(name, default)
    if text not in allowed:
        raise InvalidRequest(f"'{name}' must be one of {', '.join(allowed)}")
    return text


async def list_types(request: Request) -> Response:
    shelf = await suite_of(request).library.shelf()
    sizes = folder_sizes(shelf.models.values())
    return json_answer(ModelTypes(tuple(ModelType(name, *figures) for name, figures in sorted(sizes.items()))))


async def delete_models(request: Request) -> Response:
    suite, dry_run = suite_of(request), yes_or_no(request, "dry_run", default=False)
    asked = await read_body(request, Deletion)
    known = (await suite.library.shelf()).models.values()
    removal, leaving, unknown = await suite.files.removal(asked.ids, force=asked.force)
    if not dry_run and leaving:
        leaving = await suite.files.delete(leaving, forced=asked.force)
        suite.downloads.touch(file.id for file in leaving)
    freed = freed_bytes(leaving, known)
    names = tuple(file.name for file in leaving)
    return json_answer(DeletedModels(names, removal.kept, tuple(unknown), freed, dry_run))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/models/",
        list_models,
        "Model files on the volume",
        {200: ModelList},
        query=(
            Query("folder", str, "Only this model folder"),
            Query("search", str, "Words, each of which the name or the folder holds"),
            Query("filter", str, ", ".join(get_args(Filter))),
            Query("sort", str, ", ".join(get_args(Sort))),
            Query("order", str, ", ".join(get_args(Order))),
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
        query=(Query("dry_run", bool, "true: only say what would be removed"),),
        body=Deletion,
        errors=(503,),
    ),
)
