"""Who may pass: every request and every socket goes through here, and only the paths named here go unasked.

nginx asks the same question for ComfyUI's port at `/internal/auth`.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Literal

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request, cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from dashboard.answers import error_body, json_answer
from dashboard.suite import Suite, suite_of
from services.auth import is_same_origin

OPEN_PATHS = frozenset({"/login", "/enter", "/healthz", "/readyz", "/internal/auth"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

# Everything comes from here, nothing is inline, and no script makes code of text.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self'; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

# How long an answer that was given early is held back for the rest of the request's body.
BODY_SECONDS = 10.0

# The code after which a browser's client must not come back by itself (RFC 6455, 7.4.1: policy violation).
CLOSE_NOT_SIGNED_IN = 1008

Verdict = Literal["pass", "not_signed_in", "wrong_origin"]


class Gate:
    """ASGI middleware; the outermost, so that nothing is reachable around it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        if scope["type"] == "http":
            receive, send = _behind_body(connection.headers, receive, send)
        verdict: Verdict = "pass"
        if scope["path"] not in OPEN_PATHS:
            method = scope["method"] if scope["type"] == "http" else "WEBSOCKET"
            verdict = judge(suite_of(connection), connection.headers, method)
        if verdict == "pass":
            await self._app(scope, receive, _with_headers(send) if scope["type"] == "http" else send)
        elif scope["type"] == "http":
            await refusal(Request(scope), verdict)(scope, receive, _with_headers(send))
        else:
            await _refuse_socket(scope, receive, send, verdict)


def judge(suite: Suite, headers: Headers, method: str) -> Verdict:
    """`method`: the HTTP method, or WEBSOCKET, which is as good as a method that changes things."""
    host = headers.get("host", "")
    origin, fetch_site = headers.get("origin"), headers.get("sec-fetch-site")
    own = is_same_origin(origin, fetch_site, host)
    from_browser = origin is not None or fetch_site is not None
    if method in SAFE_METHODS and _is_embedded(headers):
        return "wrong_origin"
    if not suite.settings.auth:
        return "wrong_origin" if from_browser and not own and method not in SAFE_METHODS else "pass"
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and suite.tokens.is_valid(token.strip()):
        # No browser sends this by itself, so no page can make one send it.
        return "pass"
    session = session_id(suite, headers)
    if session is None or not suite.sessions.is_valid(session):
        return "not_signed_in"
    if method in SAFE_METHODS:
        # Links from elsewhere are welcome; scripts from elsewhere are not.
        return "pass" if own or origin is None else "wrong_origin"
    return "pass" if own else "wrong_origin"


def _is_embedded(headers: Headers) -> bool:
    """Whether a page from elsewhere has this as a picture, a script or the like in it. Browsers say no `Origin` with
    these, and send the cookie along to a neighbour under the same provider's domain, which is the same site."""
    foreign = headers.get("sec-fetch-site") not in {None, "same-origin", "none"}
    return foreign and "origin" not in headers and headers.get("sec-fetch-mode") != "navigate"


def cookie_name(suite: Suite, headers: Headers) -> str:
    """`__Host-` binds the cookie to this very host name: a neighbour under the same domain cannot plant one.

    Browsers accept it over https only. The port tells two suites on one host apart; both ports of one suite share it.
    """
    name = f"suite-{suite.settings.dashboard_port}"
    return f"__Host-{name}" if is_https(headers) else name


def session_id(suite: Suite, headers: Headers) -> str | None:
    cookies: Mapping[str, str] = cookie_parser(headers.get("cookie", ""))
    return cookies.get(cookie_name(suite, headers))


def is_https(headers: Headers) -> bool:
    """As nginx saw it, or the proxy in front of it that it was told to trust."""
    return headers.get("x-forwarded-proto", "") == "https"


def wants_page(headers: Headers) -> bool:
    return "text/html" in headers.get("accept", "")


def refusal(request: Request, verdict: Verdict) -> Response:
    if verdict == "wrong_origin":
        return json_answer(error_body("wrong_origin", "this request came from a page of another origin"), 403)
    if wants_page(request.headers) and request.method in SAFE_METHODS:
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={path}", 303)
    return json_answer(error_body("not_signed_in", "sign in at /login, or send a Bearer token"), 401)


async def _refuse_socket(scope: Scope, receive: Receive, send: Send, verdict: Verdict) -> None:
    """A browser cannot see why a handshake was refused, so who is not signed in gets in for one word."""
    if verdict == "not_signed_in":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": CLOSE_NOT_SIGNED_IN, "reason": "sign in"})
    else:
        await WebSocketClose()(scope, receive, send)


def _behind_body(headers: Headers, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """No answer before the end of what is being sent, for as long as BODY_SECONDS: the server ends the connection after
    one, and nginx, still sending, would take that for a dashboard that is away. Whoever is not signed in would hear 503
    and try again for ever."""
    is_read = "content-length" not in headers and "transfer-encoding" not in headers

    async def receive_body() -> Message:
        nonlocal is_read
        message = await receive()
        is_read = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def send_behind_it(message: Message) -> None:
        if message["type"] == "http.response.start" and not is_read:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BODY_SECONDS):
                    while not is_read:
                        await receive_body()
        await send(message)

    return receive_body, send_behind_it


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return send_with_headers
