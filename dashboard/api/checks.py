"""`/api/workflows/check`, and what follows from it: installing what is missing, using what is there."""

from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import asdict, replace
from starlette.requests import Request
from starlette.responses import Response

from dashboard import workflow_shelf
from dashboard.answers import json_answer, read_body
from dashboard.api.comfyui import require_ready
from dashboard.api.presets import start_install
from dashboard.checker import Refused
from dashboard.endpoint import Endpoint
from dashboard.messages import InstallMessage, install_message
from dashboard.runner import Source, document_of
from dashboard.suite import Suite, suite_of
from dashboard.workflow_shelf import Saved
from services import installs, standing
from services.workflows.document import MAX_JSON_BYTES
from services.workflows.remedies import Replacement
from services.workflows.report import Report


class WorkflowInstall(InstallMessage, frozen=True, kw_only=True):
    """One install of all that can be fetched. `refused`: what its hosts do not give."""

    refused: tuple[Refused, ...]


class Use(Struct, frozen=True, forbid_unknown_fields=True):
    """Model names to put in the place of others: `from` is the one that the workflow has."""

    replacements: Annotated[tuple[Replacement, ...], Meta(min_length=1, max_length=100)]


async def check_saved(request: Request) -> Response:
    return await _check(suite_of(request), Source(workflow=request.path_params["name"]))


async def check_source(request: Request) -> Response:
    return await _check(suite_of(request), await read_body(request, Source, MAX_JSON_BYTES))


async def install_for_saved(request: Request) -> Response:
    return await _install(suite_of(request), Source(workflow=request.path_params["name"]))


async def install_for_source(request: Request) -> Response:
    return await _install(suite_of(request), await read_body(request, Source, MAX_JSON_BYTES))


async def use_others(request: Request) -> Response:
    suite, name = suite_of(request), request.path_params["name"]
    wish = await read_body(request, Use)
    saved = await suite.library.document(name)
    await require_ready(suite)
    document = await suite.checker.use(saved, wish.replacements)
    return json_answer(await workflow_shelf.save(suite, name, document, keep_picture=True))


async def _check(suite: Suite, source: Source) -> Response:
    document = await document_of(suite, source)
    await require_ready(suite)
    return json_answer((await suite.checker.check(document)).report)


async def _install(suite: Suite, source: Source) -> Response:
    document = await document_of(suite, source)
    await require_ready(suite)
    # What was here a moment ago may be gone.
    suite.library.forget()
    look = await suite.checker.check(document)
    title = await suite.library.workflow_title(source.workflow) if source.workflow else "a workflow"
    if not look.files and not look.coming:
        nothing = installs.lacking(f"Models of {title}"[:200], ())
        status = replace(standing.status(nothing, (await suite.library.shelf()).view), state="installed")
        return json_answer(_with_refused(install_message(status), ()))
    preset, refused = await suite.checker.plan(title, look)
    message, status_code = await start_install(suite, preset)
    return json_answer(_with_refused(message, refused), status_code)


def _with_refused(message: InstallMessage, refused: tuple[Refused, ...]) -> WorkflowInstall:
    return WorkflowInstall(**asdict(message), refused=refused)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/workflows/{name}/check",
        check_saved,
        "What a workflow lacks",
        {200: Report},
        errors=(404, 422, 503),
    ),
    Endpoint(
        "POST",
        "/api/workflows/check",
        check_source,
        "What any workflow lacks",
        {200: Report},
        body=Source,
        errors=(404, 413, 503),
    ),
    Endpoint(
        "POST",
        "/api/workflows/{name}/install",
        install_for_saved,
        "Install all missing models that can be fetched",
        {200: WorkflowInstall, 202: WorkflowInstall},
        errors=(404, 409, 422, 503, 507),
    ),
    Endpoint(
        "POST",
        "/api/workflows/install",
        install_for_source,
        "Install all missing models of any workflow that can be fetched",
        {200: WorkflowInstall, 202: WorkflowInstall},
        body=Source,
        errors=(404, 409, 413, 503, 507),
    ),
    Endpoint(
        "POST",
        "/api/workflows/{name}/use",
        use_others,
        "Use models that are there instead of those that the workflow names",
        {200: Saved},
        body=Use,
        errors=(404, 503, 507),
    ),
)
