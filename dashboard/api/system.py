"""`/api/system/`, `/api/tokens/`"""

import asyncio
from typing import Annotated

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from dashboard.answers import decode, json_answer, read_body, read_bytes
from dashboard.endpoint import Endpoint
from dashboard.messages import Disk, SystemStatus
from dashboard.suite import suite_of
from services.errors import NotFound
from services.health import log_tail
from services.models import folder_sizes

LOG_LINES = 200


class FolderSize(Struct, frozen=True):
    folder: str
    size_bytes: int


class Storage(Struct, frozen=True):
    """`folders`: the model folders, largest first."""

    workspace: Disk
    folders: tuple[FolderSize, ...]


class Restart(Struct, frozen=True, forbid_unknown_fields=True):
    """`safe_mode`: ComfyUI only, without custom nodes until the next restart."""

    safe_mode: bool = False


class Restarted(Struct, frozen=True):
    name: str


class LogTail(Struct, frozen=True):
    name: str
    lines: list[str]


class NewToken(Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=60)]


class TokenSummary(Struct, frozen=True):
    id: str
    name: str
    created_at: float


class TokenList(Struct, frozen=True):
    tokens: tuple[TokenSummary, ...]


class CreatedToken(Struct, frozen=True):
    """`token` is shown this once."""

    id: str
    name: str
    created_at: float
    token: str


class Revoked(Struct, frozen=True):
    id: str


async def status(request: Request) -> Response:
    suite = suite_of(request)
    found = await suite.system.status()
    return suite.answers.status.answer(request, found, lambda: found)


async def storage(request: Request) -> Response:
    suite = suite_of(request)
    sizes = folder_sizes((await suite.library.shelf()).models.values())
    folders = sorted((FolderSize(name, size) for name, (_, size) in sizes.items()), key=lambda f: -f.size_bytes)
    return json_answer(Storage((await suite.system.status()).disk, tuple(folders)))


async def restart(request: Request) -> Response:
    suite, name = suite_of(request), request.path_params["name"]
    body = decode(await read_bytes(request) or b"{}", Restart)
    await suite.system.restart(name, safe_mode=body.safe_mode)
    return json_answer(Restarted(name), 202)


async def read_log(request: Request) -> Response:
    suite, name = suite_of(request), request.path_params["name"]
    logs = suite.settings.state_dir / "logs"
    known = await asyncio.to_thread(lambda: {file.stem: file for file in logs.glob("*.log")})
    if name not in known:
        raise NotFound(f"there is no log '{name[:60]}'; there are {', '.join(sorted(known))}")
    return json_answer(LogTail(name, await asyncio.to_thread(log_tail, known[name], LOG_LINES)))


async def list_tokens(request: Request) -> Response:
    tokens = suite_of(request).tokens.all()
    return json_answer(TokenList(tuple(TokenSummary(t.id, t.name, t.created_at) for t in tokens)))


async def create_token(request: Request) -> Response:
    suite = suite_of(request)
    body = await read_body(request, NewToken)
    token, secret = await suite.volume.write(suite.tokens.create, body.name)
    return json_answer(CreatedToken(token.id, token.name, token.created_at, secret), 201)


async def revoke_token(request: Request) -> Response:
    suite, id_ = suite_of(request), request.path_params["id"]
    await suite.volume.write(suite.tokens.revoke, id_)
    return json_answer(Revoked(id_))


ENDPOINTS = (
    Endpoint("GET", "/api/system/status", status, "The machine and the processes", {200: SystemStatus}),
    Endpoint("GET", "/api/system/storage", storage, "What takes the space", {200: Storage}),
    Endpoint(
        "POST",
        "/api/system/processes/{name}/restart",
        restart,
        "Restart a process",
        {202: Restarted},
        body=Restart,
        errors=(404, 409, 503),
    ),
    Endpoint("GET", "/api/system/logs/{name}", read_log, "The last lines of a log", {200: LogTail}, errors=(404,)),
    Endpoint("GET", "/api/tokens/", list_tokens, "API tokens", {200: TokenList}),
    Endpoint(
        "POST", "/api/tokens/", create_token, "Make an API token", {201: CreatedToken}, body=NewToken, errors=(503,)
    ),
    Endpoint("DELETE", "/api/tokens/{id}", revoke_token, "Revoke an API token", {200: Revoked}, errors=(404, 503)),
)
