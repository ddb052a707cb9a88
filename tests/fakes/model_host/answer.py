"""Answers one request after the other on a connection, as the behaviour of the path has it."""

import email.utils
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote

from tests.fakes.model_host import ranges
from tests.fakes.model_host.behaviour import Behaviour
from tests.fakes.model_host.body import Body, BrokenOff
from tests.fakes.model_host.content import GARBAGE_BYTES, Content, Reader
from tests.fakes.model_host.request import Request

if TYPE_CHECKING:
    from tests.fakes.model_host.host import ModelHost

LOGIN_PATH = "/login"
_HTML = {"Content-Type": "text/html; charset=utf-8"}
_PAGE = b"<!DOCTYPE html><html><head><title>Models</title></head><body><p>Not the file.</p></body></html>"


@dataclass(frozen=True)
class Short:
    """An answer that is not a file."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Any

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    @property
    def _host(self) -> "ModelHost":
        host: ModelHost = self.server.host
        return host

    def _answer(self) -> None:
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(unquote(path), headers, self.command, query, self.client_address[:2])
        self._host.requests.append(request)
        with self._host.going_on(request) as together:
            behaviour = self._host.behaviour(request.path)
            if behaviour.first_byte_seconds:
                self._host.closing.wait(behaviour.first_byte_seconds)
            if short := self._short(request, behaviour, together):
                self._send_short(request, short)
            else:
                self._send_file(request, self._host.files[request.path], behaviour)
        if not behaviour.keep_alive:
            self.close_connection = True

    def _short(self, request: Request, behaviour: Behaviour, together: int) -> Short | None:
        """What is answered in place of a file; None when the file is."""
        return (
            self._refusal(request, behaviour, together)
            or _elsewhere(request, behaviour)
            or next(filter(None, (site.answer(request) for site in self._host.sites)), None)
            or (None if request.path in self._host.files else _missing(request))
        )

    def _refusal(self, request: Request, behaviour: Behaviour, together: int) -> Short | None:
        headers = _retry_after(behaviour) | behaviour.headers
        if behaviour.max_connections is not None and together > behaviour.max_connections:
            return Short(429, headers, behaviour.body)
        if behaviour.status is not None and behaviour.is_due("status", self._host.count(f"status {request.path}")):
            return Short(behaviour.status, headers, behaviour.body)
        if behaviour.head_status is not None and request.method == "HEAD":
            return Short(behaviour.head_status, headers, behaviour.body)
        if behaviour.needs_signature:
            signature = parse_qs(request.query).get("signature", [""])[0]
            if not self._host.use_signature(request.path, signature):
                return Short(403, headers, behaviour.body)
        return None

    def _send_short(self, request: Request, short: Short) -> None:
        request.status = short.status
        self.send_response(short.status)
        self._send_headers({"Content-Length": str(len(short.body)), **short.headers})
        if request.method != "HEAD":
            request.bytes_sent = len(short.body)
            self.wfile.write(short.body)

    def _send_file(self, request: Request, content: Content, behaviour: Behaviour) -> None:
        count = self._host.count(f"file {request.path}")
        is_changed = behaviour.change_after is not None and count >= behaviour.change_after
        etag = behaviour.etag if behaviour.etag is not None else content.etag
        if is_changed and behaviour.etag is None:
            etag = f'"changed-{etag[1:]}'
        modified = email.utils.formatdate(content.modified, usegmt=True)
        try:
            wanted = self._wanted(request, content, behaviour, etag, modified)
        except ranges.OutOfRange:
            self._send_short(request, Short(416, {"Content-Range": f"bytes */{content.size}"}))
            return
        request.status = 200 if wanted is None else 206
        self.send_response(request.status)
        self._send_headers(self._file_headers(content, behaviour, wanted, etag, modified))
        if request.method != "HEAD":
            self._send_body(request, content, behaviour, wanted or range(content.size), is_changed)

    def _wanted(
        self, request: Request, content: Content, behaviour: Behaviour, etag: str, modified: str
    ) -> range | None:
        """The part to send; None for the whole. Raises OutOfRange."""
        if not request.range or not behaviour.ranges or behaviour.gzip:
            return None
        if not ranges.is_still_the_same(request.headers.get("if-range"), etag, modified):
            return None
        every = behaviour.whole_every
        if every is not None and (self._host.count(f"whole {request.path}") + 1) % every == 0:
            return None
        return ranges.part(request.range, content.size)

    def _file_headers(
        self, content: Content, behaviour: Behaviour, wanted: range | None, etag: str, modified: str
    ) -> dict[str, str]:
        headers = {"Content-Type": behaviour.content_type, "Last-Modified": modified}
        if etag:
            headers["ETag"] = etag
        if behaviour.ranges:
            headers["Accept-Ranges"] = "bytes"
        if wanted is not None:
            headers["Content-Range"] = ranges.described(wanted, content.size, behaviour.wrong_range)
        if behaviour.gzip:
            headers["Content-Encoding"] = "gzip"
        if behaviour.chunked or behaviour.gzip:
            headers["Transfer-Encoding"] = "chunked"
        elif behaviour.length:
            length = content.size if wanted is None else len(wanted)
            headers["Content-Length"] = str(max(length + behaviour.length_off, 0))
        else:
            headers["Connection"] = "close"
        return headers | behaviour.headers

    def _send_headers(self, headers: Mapping[str, str]) -> None:
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_body(
        self, request: Request, content: Content, behaviour: Behaviour, wanted: range, is_changed: bool
    ) -> None:
        breaks = behaviour.break_after is not None and self._is_due("break", request, behaviour)
        stalls = behaviour.stall_after is not None and self._is_due("stall", request, behaviour)
        body = Body(
            self.connection,
            request,
            lambda: self._host.behaviour(request.path),
            self._host.closing,
            stall_at=behaviour.stall_after if stalls else None,
            break_at=behaviour.break_after if breaks else None,
        )
        garbage_at = behaviour.corrupt_at if self._is_corrupt(request, behaviour, wanted) else None
        try:
            with Reader(content, is_changed=is_changed, garbage_at=garbage_at) as reader:
                if behaviour.gzip:
                    body.send_packed(reader, wanted)
                else:
                    body.send(reader, wanted, is_chunked=behaviour.chunked)
        except BrokenOff:
            self.close_connection = True
        if behaviour.length_off:
            # Whatever is still waited for never comes, and whatever came too much belongs to no other answer.
            self.close_connection = True

    def _is_due(self, which: Any, request: Request, behaviour: Behaviour) -> bool:
        return behaviour.is_due(which, self._host.count(f"{which} {request.path}"))

    def _is_corrupt(self, request: Request, behaviour: Behaviour, wanted: range) -> bool:
        at = behaviour.corrupt_at
        if at is None or at + GARBAGE_BYTES <= wanted.start or at >= wanted.stop:
            return False
        return self._host.count(f"corrupt {request.path}") < behaviour.corruptions


def _elsewhere(request: Request, behaviour: Behaviour) -> Short | None:
    """A redirect, or a page."""
    status = behaviour.redirect_status
    if behaviour.endless_redirects:
        number = int(parse_qs(request.query).get("hop", ["0"])[0]) + 1
        return Short(status, {"Location": f"{quote(request.path)}?hop={number}", **behaviour.headers})
    if behaviour.redirect is not None:
        target = behaviour.redirect if isinstance(behaviour.redirect, str) else behaviour.redirect()
        return Short(status, {"Location": target, **behaviour.headers})
    if behaviour.login:
        return Short(status, {"Location": login(request.path), **behaviour.headers})
    if behaviour.page:
        return Short(200, {**_HTML, **behaviour.headers}, behaviour.body or _PAGE)
    return None


def _missing(request: Request) -> Short:
    return Short(200, _HTML, _PAGE) if request.path == LOGIN_PATH else Short(404)


def login(path: str) -> str:
    """The address of the page that asks for a login, and leads back to `path`."""
    return f"{LOGIN_PATH}?returnUrl={quote(path, safe='')}&reason=download-auth"


def _retry_after(behaviour: Behaviour) -> dict[str, str]:
    seconds = behaviour.retry_after
    if seconds is None:
        return {}
    if behaviour.retry_after_date:
        return {"Retry-After": email.utils.formatdate(math.ceil(time.time() + seconds), usegmt=True)}
    return {"Retry-After": f"{seconds:g}"}
