"""One entry of the API as data: the route and its description are made from the same types."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Query:
    name: str
    type: type
    description: str


@dataclass(frozen=True)
class Endpoint:
    """`answers`: the type of each good answer by status; None for one without JSON. `body`: what is validated."""

    method: str
    path: str
    handler: Handler
    summary: str
    answers: Mapping[int, Any]
    body: Any = None
    query: tuple[Query, ...] = ()
    errors: tuple[int, ...] = field(default=())

    @property
    def tag(self) -> str:
        return self.path.split("/")[2]


def routes(endpoints: tuple[Endpoint, ...]) -> list[Route]:
    return [Route(endpoint.path, endpoint.handler, methods=[endpoint.method]) for endpoint in endpoints]
