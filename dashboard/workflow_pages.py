"""The pages of workflows: the list of them, and each one's own."""

import asyncio
from collections.abc import Iterable
from typing import get_args

from starlette.requests import Request
from starlette.responses import Response

from dashboard import workflow_shelf
from dashboard.answers import whole_number
from dashboard.pages import framed
from dashboard.suite import suite_of
from dashboard.workflow_shelf import Wanted
from services.errors import InvalidRequest, NotFound
from services.model_folders import model_folders
from services.runs import Run

PER_PAGE = 50
OFFSET_MAX = 1_000_000
SEARCH_MAX = 200
RUNS = 20
RESULTS = 12


async def workflows(request: Request) -> Response:
    """`/workflows?source=&search=&offset=`"""
    suite = suite_of(request)
    source, search = _source(request), request.query_params.get("search", "")[:SEARCH_MAX]
    offset = whole_number(request, "offset", 0, 0, OFFSET_MAX)
    found = await workflow_shelf.find(suite, source, search)
    context = {
        "workflows": found[offset : offset + PER_PAGE],
        "total": len(found),
        "query": {"source": source, "search": search, "offset": offset, "limit": PER_PAGE},
        "runs": _shown(suite.runs.recent(), RUNS),
    }
    return await framed(request, "workflows", "Workflows", context)


async def workflow(request: Request) -> Response:
    """`/workflows/{name}`. Raises NotFound."""
    suite, name = suite_of(request), request.path_params["name"]
    found = next((one for one in await workflow_shelf.find(suite) if one.name == name), None)
    if found is None:
        raise NotFound(f"there is no workflow '{name[:100]}'")
    context = {
        "heading": "Workflow",
        "workflow": found,
        "runs": _shown((run for run in suite.runs.recent() if run.workflow == name), RESULTS),
        "folders": await asyncio.to_thread(model_folders, suite.settings.comfyui_dir),
    }
    return await framed(request, "workflow", found.title, context, section="workflows")


def _shown(runs: Iterable[Run], most: int) -> list[Run]:
    """All that run or wait, which may be a batch of a hundred, and `most` that are over."""
    known = list(runs)
    return [run for run in known if not run.is_over] + [run for run in known if run.is_over][:most]


def _source(request: Request) -> Wanted:
    """Raises InvalidRequest."""
    wanted = request.query_params.get("source", "")
    for known in get_args(Wanted):
        if wanted == known:
            return known  # type: ignore[no-any-return]
    raise InvalidRequest("'source' must be one of user, presets, templates, or be left out")
