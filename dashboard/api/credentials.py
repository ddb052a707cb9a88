"""`/api/credentials/`"""

import asyncio

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from dashboard.answers import json_answer, read_body
from dashboard.endpoint import Endpoint
from dashboard.suite import Suite, suite_of
from services import log
from services.credentials import Hub, checked_token, known_hub
from services.errors import InvalidRequest, NotFound
from services.hub_accounts import Credential

_log = log.get("credentials")


class CredentialList(Struct, frozen=True):
    credentials: tuple[Credential, ...]


class HubToken(Struct, frozen=True, forbid_unknown_fields=True):
    token: str


async def list_credentials(request: Request) -> Response:
    suite = suite_of(request)
    return json_answer(CredentialList(await suite.volume.run(suite.accounts.credentials)))


async def put_credential(request: Request) -> Response:
    suite, hub = suite_of(request), known_hub(request.path_params["name"])
    secret = checked_token((await read_body(request, HubToken)).token)
    checked = await asyncio.to_thread(suite.accounts.check, hub, secret)
    # A hub that cannot be asked is no reason to refuse.
    if checked.state == "refused":
        raise InvalidRequest(f"{checked.message}; nothing was saved")
    await suite.volume.write(suite.credentials.put, hub, secret)
    _log.info("credential_saved", hub=hub, checked=checked.state)
    suite.accounts.remember(hub, secret, checked)
    return await _changed(suite, hub)


async def check_credential(request: Request) -> Response:
    suite, hub = suite_of(request), known_hub(request.path_params["name"])
    secret = await suite.volume.run(suite.credentials.get, hub)
    if not secret:
        raise NotFound(f"there is no token for {hub}: save one first")
    suite.accounts.remember(hub, secret, await asyncio.to_thread(suite.accounts.check, hub, secret))
    return json_answer(await suite.volume.run(suite.accounts.credential, hub))


async def delete_credential(request: Request) -> Response:
    suite, hub = suite_of(request), known_hub(request.path_params["name"])
    await suite.volume.write(suite.credentials.delete, hub)
    _log.info("credential_removed", hub=hub)
    return await _changed(suite, hub)


async def _changed(suite: Suite, hub: Hub) -> Response:
    suite.resolver.forget()
    return json_answer(await suite.volume.run(suite.accounts.credential, hub))


ENDPOINTS = (
    Endpoint("GET", "/api/credentials/", list_credentials, "Tokens for the hubs", {200: CredentialList}, errors=(503,)),
    Endpoint(
        "PUT",
        "/api/credentials/{name}",
        put_credential,
        "Save the token for a hub",
        {200: Credential},
        body=HubToken,
        errors=(404, 422, 503, 507),
    ),
    Endpoint(
        "POST",
        "/api/credentials/{name}/check",
        check_credential,
        "Ask a hub whose its token is",
        {200: Credential},
        errors=(404, 503),
    ),
    Endpoint(
        "DELETE",
        "/api/credentials/{name}",
        delete_credential,
        "Remove the saved token for a hub",
        {200: Credential},
        errors=(404, 503),
    ),
)
