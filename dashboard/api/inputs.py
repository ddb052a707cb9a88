"""`/api/inputs/` and the forms of workflows: what a run can be given."""

import contextlib

from msgspec import Struct
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from dashboard.answers import TooLarge, WrongMediaType, json_answer, read_body
from dashboard.endpoint import Endpoint, Query
from dashboard.received import FORMS
from dashboard.runner import Source, conversion_of, definitions_of, document_of
from dashboard.suite import Suite, suite_of
from services.errors import InvalidRequest, WorkspaceUnavailable
from services.input_files import MAX_BYTES, InputFile
from services.workflows.document import MAX_JSON_BYTES, Document
from services.workflows.inputs import FormInput, form
from services.workspace import Workspace

# So much is written at once.
PIECE_BYTES = 1024 * 1024


class InputName(Struct, frozen=True):
    """As loading nodes take it."""

    name: str


class Form(Struct, frozen=True):
    inputs: tuple[FormInput, ...]


async def inputs_of_saved(request: Request) -> Response:
    suite = suite_of(request)
    return await _form(suite, await suite.library.document(request.path_params["name"]))


async def inputs_of(request: Request) -> Response:
    suite = suite_of(request)
    return await _form(suite, await document_of(suite, await read_body(request, Source, MAX_JSON_BYTES)))


async def put_input(request: Request) -> Response:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() in FORMS:
        raise WrongMediaType("send the file itself as the body, not as part of a form")
    name = request.query_params.get("name", "")
    if not name:
        raise InvalidRequest("say how the file is called: /api/inputs/?name=…")
    try:
        return json_answer(InputName(await _received(request, suite_of(request), name)), 201)
    except ClientDisconnect:
        # Nobody is there to hear it.
        return Response(status_code=400)


async def _received(request: Request, suite: Suite, name: str) -> str:
    length = request.headers.get("content-length", "")
    announced = int(length) if length.isdecimal() and len(length) < 16 else None
    if (announced or 0) > MAX_BYTES:
        raise _too_large()
    workspace, reserve = Workspace(suite.settings.workspace), suite.settings.disk_reserve_bytes
    file = await suite.volume.write(InputFile, workspace, name, announced, reserve)
    try:
        size, pending = 0, bytearray()
        async for piece in request.stream():
            size += len(piece)
            if size > MAX_BYTES:
                raise _too_large()
            pending += piece
            if len(pending) >= PIECE_BYTES:
                await suite.volume.run(file.write, bytes(pending))
                pending.clear()
        if not size:
            raise InvalidRequest("the body is empty: send the file as the body")
        await suite.volume.run(file.write, bytes(pending))
        return await suite.volume.run(file.publish)
    finally:
        # On a volume that hangs it is closed when that comes back; nobody waits for it.
        with contextlib.suppress(WorkspaceUnavailable):
            await suite.volume.run(file.close)


async def _form(suite: Suite, document: Document) -> Response:
    # With its texts as they are written: of `{a|b}`, each run chooses anew.
    prompt = (await conversion_of(suite, document)).prompt
    definitions = await definitions_of(suite, frozenset(node["class_type"] for node in prompt.values()))
    return json_answer(Form(await suite.workbench.run(form, prompt, definitions)))


def _too_large() -> TooLarge:
    return TooLarge(f"a file for ComfyUI may have {MAX_BYTES // 1024**2} MiB")


ENDPOINTS = (
    Endpoint(
        "POST",
        "/api/inputs/",
        put_input,
        "A file for the nodes that load one",
        {201: InputName},
        query=(Query("name", str, "What it is to be called"),),
        errors=(409, 413, 415, 422, 503, 507),
    ),
    Endpoint(
        "GET",
        "/api/workflows/{name}/inputs",
        inputs_of_saved,
        "What people change in a workflow",
        {200: Form},
        errors=(404, 422, 503),
    ),
    Endpoint(
        "POST",
        "/api/workflows/inputs",
        inputs_of,
        "The same of any workflow",
        {200: Form},
        body=Source,
        errors=(404, 413, 503),
    ),
)
