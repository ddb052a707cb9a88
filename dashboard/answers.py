"""Bodies in, JSON out, and what each error of the suite means in HTTP."""

import asyncio
from typing import Any, TypeVar, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.artifacts import Sha256
from services.auth import TooManyAttempts
from services.errors import Conflict, InvalidRequest, NotEnoughSpace, NotFound, SuiteError, Unavailable
from services.named_models import MAX_VALUES

MAX_BODY_BYTES = 2 * 1024 * 1024

T = TypeVar("T")
_SHA256: msgspec.Meta = get_args(Sha256)[1]
_encoder = msgspec.json.Encoder()


class NotJson(SuiteError):
    type = "not_json"


class WrongMediaType(SuiteError):
    type = "wrong_media_type"


class TooLarge(SuiteError):
    type = "too_large"


_STATUS: tuple[tuple[type[SuiteError], int], ...] = (
    (NotJson, 400),
    (NotFound, 404),
    (Conflict, 409),
    (TooLarge, 413),
    (WrongMediaType, 415),
    (InvalidRequest, 422),
    (TooManyAttempts, 429),
    (Unavailable, 503),
    (NotEnoughSpace, 507),
)


def status_of(error: SuiteError) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(_encoder.encode(value), status, headers, "application/json")


def error_body(type_: str, message: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"error": {"type": type_, "message": message, "details": details or {}}}


def error_answer(error: SuiteError) -> Response:
    headers = {"Retry-After": str(error.details["retry_after_seconds"])} if isinstance(error, TooManyAttempts) else None
    return json_answer(error_body(error.type, error.message, error.details), status_of(error), headers)


async def read_body(request: Request, type_: type[T], limit: int = MAX_BODY_BYTES) -> T:
    """The request's JSON as `type_`. Raises WrongMediaType, TooLarge, NotJson, InvalidRequest."""
    require_json(request)
    data = await read_bytes(request, limit)
    # What takes longer would hold up everyone else.
    return decode(data, type_) if len(data) <= MAX_BODY_BYTES else await asyncio.to_thread(decode, data, type_)


def require_json(request: Request) -> None:
    """Raises WrongMediaType."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise WrongMediaType("send the body as application/json")


async def read_bytes(request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """Raises TooLarge as soon as the body is."""
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise TooLarge(f"the body is larger than {limit} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def decode(data: bytes, type_: type[T]) -> T:
    """Raises NotJson, InvalidRequest."""
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_VALUES:
        # Each takes up to a hundred bytes of memory, and two in the body.
        raise InvalidRequest(f"the body holds more than {MAX_VALUES} values; no workflow does")
    try:
        return msgspec.json.decode(data, type=type_)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the body does not fit: {_in_words(str(error))}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotJson(f"the body is not JSON: {error}") from None


def _in_words(problem: str) -> str:
    """What msgspec says, with a sentence instead of the expression that a digest must match."""
    reason, found, place = problem.partition(" - at ")
    if _SHA256.pattern is not None and reason.endswith(repr(_SHA256.pattern)):
        reason = "a sha256 has 64 digits, each 0 to 9 or a to f"
    return f"{reason}{found}{place}"


def whole_number(request: Request, name: str, default: int, low: int, high: int) -> int:
    """The query's number `name`. Raises InvalidRequest."""
    text = request.query_params.get(name)
    if text is None:
        return default
    # Its length first: Python refuses to read a number of thousands of digits.
    if len(text) > len(str(high)) or not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise InvalidRequest(f"'{name}' must be a whole number from {low} to {high}")
    return int(text)


def yes_or_no(request: Request, name: str, default: bool) -> bool:
    """The query's `name`: true or false, 1 or 0. Raises InvalidRequest."""
    text = request.query_params.get(name, str(default)).lower()
    if text not in {"true", "false", "1", "0"}:
        raise InvalidRequest(f"'{name}' must be true or false")
    return text in {"true", "1"}
