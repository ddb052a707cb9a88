"""The page of what ComfyUI made."""

from starlette.requests import Request
from starlette.responses import Response

from dashboard.answers import whole_number
from dashboard.api.outputs import OFFSET_MAX, output_query
from dashboard.pages import framed
from dashboard.suite import suite_of

PER_PAGE = 100


async def outputs(request: Request) -> Response:
    """`/outputs?media=&search=&order=&offset=`: the script fetches page after page and keeps the cells of each."""
    suite, query = suite_of(request), output_query(request)
    offset = whole_number(request, "offset", 0, 0, OFFSET_MAX)
    found = await (await suite.gallery.collection()).find(query)
    context = {
        "outputs": found.page(offset, PER_PAGE),
        "total": len(found.files),
        "total_bytes": found.total_bytes,
        "query": query,
        "offset": offset,
    }
    return await framed(request, "outputs", "Outputs", context)
