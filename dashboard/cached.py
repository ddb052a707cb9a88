"""An answer made once per version of what it shows, and not sent at all to those who have it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

_encoder = msgspec.json.Encoder()


class CachedJson:
    """The bytes of the newest version. `If-None-Match` is answered with 304."""

    def __init__(self) -> None:
        self._version: object = None
        self._body = b""
        self._etag = ""

    def answer(self, request: Request, version: object, make: Callable[[], Any]) -> Response:
        """`version` is compared with the one before, and is not None."""
        if version != self._version:
            self._body = _encoder.encode(make())
            self._version = version
            self._etag = f'"{hash(self._body) & 0xFFFFFFFFFFFFFFFF:x}"'
        headers = {"ETag": self._etag, "Cache-Control": "no-cache"}
        # nginx makes the tag a weak one when it compresses the answer.
        if request.headers.get("if-none-match", "").removeprefix("W/") == self._etag:
            return Response(status_code=304, headers=headers)
        return Response(self._body, headers=headers, media_type="application/json")


@dataclass(frozen=True)
class CachedAnswers:
    """What is asked for often."""

    openapi: CachedJson = field(default_factory=CachedJson)
    presets: CachedJson = field(default_factory=CachedJson)
    models: CachedJson = field(default_factory=CachedJson)
    outputs: CachedJson = field(default_factory=CachedJson)
    status: CachedJson = field(default_factory=CachedJson)
