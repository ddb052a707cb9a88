"""Signing in and out, and the way from the dashboard's port to the others."""

import asyncio
import secrets
import time
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dashboard.answers import TooLarge, error_body, json_answer, read_bytes
from dashboard.gate import cookie_name, is_https, judge, session_id
from dashboard.pages import page
from dashboard.suite import suite_of
from services import log
from services.auth import LIFETIME_SECONDS, TooManyAttempts, is_same_origin
from services.dev_tools import installed
from services.errors import NotFound

TICKET_SECONDS = 30.0
MAX_FORM_BYTES = 8 * 1024

_log = log.get("auth")


class Tickets:
    """Good once and for half a minute: on a provider that gives each port a host name of its own, the cookie of the
    dashboard does not reach the other ports, and a ticket in the address takes the login over there."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def issue(self) -> str:
        now = time.monotonic()
        self._until = {ticket: until for ticket, until in self._until.items() if until > now}
        ticket = secrets.token_urlsafe(32)
        self._until[ticket] = now + TICKET_SECONDS
        return ticket

    def redeem(self, ticket: str) -> bool:
        return self._until.pop(ticket, 0.0) > time.monotonic()


async def show_login(request: Request) -> Response:
    suite = suite_of(request)
    if judge(suite, request.headers, "GET") == "pass":
        return RedirectResponse(_own_path(_next(request)), 303)
    return _login_page(request, next_=_next(request))


async def login(request: Request) -> Response:
    suite = suite_of(request)
    address = request.headers.get("x-real-ip", "")
    # A page of another site must not sign its visitor in as someone else.
    if not is_same_origin(
        request.headers.get("origin"), request.headers.get("sec-fetch-site"), request.headers.get("host", "")
    ):
        return json_answer(error_body("wrong_origin", "sign in from the dashboard's own page"), 403)
    try:
        form = await _form(request)
    except TooLarge:
        return _login_page(request, next_="/", error="That is too long to be the password.", status=413)
    next_ = _own_path(form.get("next"))
    try:
        suite.brake.check(address)
    except TooManyAttempts as error:
        return _login_page(request, next_=next_, error=None, retry_after=error.retry_after_seconds, status=429)
    if not suite.password.matches(form.get("password", "")):
        left = suite.brake.wrong(address)
        _log.warning("wrong_password", address=address, tries_left=left)
        tries = (
            f"{left} {'try' if left == 1 else 'tries'} left before a pause."
            if left
            else "Wait a minute before the next try."
        )
        return _login_page(request, next_=next_, error=f"Wrong password. {tries}", status=401)
    suite.brake.right(address)
    _log.info("signed_in", address=address)
    return await _signed_in(request, RedirectResponse(next_, 303))


async def logout(request: Request) -> Response:
    suite = suite_of(request)
    session = session_id(suite, request.headers)
    if session is not None:
        await asyncio.to_thread(suite.sessions.end, session)
        suite.hub.end_sessions([session])
    response = RedirectResponse("/login", 303)
    response.delete_cookie(
        cookie_name(suite, request.headers), secure=is_https(request.headers), httponly=True, samesite="lax"
    )
    return response


async def open_comfyui(request: Request) -> Response:
    """To ComfyUI's port, signed in there as well."""
    suite = suite_of(request)
    return _sent_to(request, suite.settings.comfyui_url or address_of_port(request, suite.settings.comfyui_port))


async def open_dev_tool(request: Request) -> Response:
    """Raises NotFound for one that is off or not installed."""
    name = request.path_params["name"]
    for tool in installed(suite_of(request).settings):
        if tool.name == name:
            return _sent_to(request, address_of_port(request, tool.port))
    raise NotFound(f"'{name[:40]}' is not on")


def _sent_to(request: Request, target: str) -> Response:
    suite = suite_of(request)
    if not suite.settings.auth or urlsplit(target).hostname == request.url.hostname:
        return RedirectResponse(target + "/", 303)
    return RedirectResponse(f"{target}/_suite/enter?ticket={_tickets(request).issue()}", 303)


async def enter(request: Request) -> Response:
    if not _tickets(request).redeem(request.query_params.get("ticket", "")):
        return RedirectResponse("/_suite/login?next=/", 303)
    return await _signed_in(request, RedirectResponse("/", 303))


async def judge_for_nginx(request: Request) -> Response:
    """auth_request: 204 lets the request through to what is behind nginx, 401 and 403 do not."""
    method = "WEBSOCKET" if request.headers.get("x-original-upgrade") else request.headers.get("x-original-method", "")
    verdict = judge(suite_of(request), request.headers, method)
    return Response(status_code={"pass": 204, "not_signed_in": 401, "wrong_origin": 403}[verdict])


def address_of_port(request: Request, port: int) -> str:
    """Where the browser finds another port of the suite, without a slash at the end."""
    settings = suite_of(request).settings
    scheme = "https" if is_https(request.headers) else "http"
    host = request.url.hostname or "localhost"
    pod = settings.runpod_pod_id
    if pod and host == f"{pod}-{settings.dashboard_port}.proxy.runpod.net":
        return f"{scheme}://{pod}-{port}.proxy.runpod.net"
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{port}"


async def _signed_in(request: Request, response: Response) -> Response:
    """A new session, never the one the browser brought."""
    suite = suite_of(request)
    old = session_id(suite, request.headers)
    if old is not None:
        await asyncio.to_thread(suite.sessions.end, old)
    response.set_cookie(
        cookie_name(suite, request.headers),
        await asyncio.to_thread(suite.sessions.start),
        max_age=LIFETIME_SECONDS,
        path="/",
        secure=is_https(request.headers),
        httponly=True,
        samesite="lax",
    )
    return response


def _login_page(
    request: Request, *, next_: str, error: str | None = None, retry_after: float | None = None, status: int = 200
) -> Response:
    context = {
        "error": error,
        "retry_after": round(retry_after) if retry_after else None,
        "next": _own_path(next_),
        "password_source": suite_of(request).password.source,
    }
    return page(request, "login.html", context, status)


def _next(request: Request) -> str:
    """All that follows `next=`, as it is: nginx cannot escape an address, and its own query may hold more `&`."""
    return request.url.query.partition("next=")[2]


def _own_path(path: str | None) -> str:
    """`path`, if it leads nowhere else (`//evil`, `/\\evil` and `https:` do)."""
    if not path or not path.startswith("/") or path.startswith(("//", "/\\")) or any(ord(ch) < 32 for ch in path):
        return "/"
    return path


async def _form(request: Request) -> dict[str, str]:
    body = await read_bytes(request, MAX_FORM_BYTES)
    return dict(parse_qsl(body.decode("utf-8", errors="replace")))


def _tickets(request: Request) -> Tickets:
    tickets: Tickets = request.app.state.tickets
    return tickets
