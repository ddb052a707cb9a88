"""`/api/openapi.json`, from the types that validate requests and write answers."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from dashboard.endpoint import Endpoint

_ERRORS = {
    400: "The body is not JSON",
    404: "There is no such thing",
    409: "Not while something else is under way, or not over this connection",
    413: "The body is too large",
    415: "The body is not application/json",
    422: "It does not fit, or cannot run",
    503: "A part that it needs is down",
    507: "Not enough space",
}
_REFERENCE = "#/components/schemas/{name}"
_ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "message", "details"],
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}, "details": {"type": "object"}},
        }
    },
}


def document(endpoints: Iterable[Endpoint], version: str) -> dict[str, Any]:
    endpoints = tuple(endpoints)
    types = [type_ for endpoint in endpoints for type_ in _types(endpoint)]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    schema_of = {id(type_): schema for type_, schema in zip(types, schemas, strict=True)}
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        # Starlette's converters (`{path:path}`) are its own business.
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "ComfyUI-Docker", "version": version},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": _ERROR_SCHEMA},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "suite-8080",
                    "description": "`suite-` and DASHBOARD_PORT; over https `__Host-suite-` and DASHBOARD_PORT",
                },
            },
        },
    }


def _types(endpoint: Endpoint) -> list[Any]:
    return [type_ for type_ in (*endpoint.answers.values(), endpoint.body) if type_ is not None]


def _operation(endpoint: Endpoint, schema_of: dict[int, Any]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)(?::\w+)?\}", endpoint.path)
    ]
    parameters += [
        {
            "name": query.name,
            "in": "query",
            "description": query.description,
            "schema": msgspec.json.schema(query.type),
        }
        for query in endpoint.query
    ]
    responses = {str(status): _answer(type_, schema_of) for status, type_ in endpoint.answers.items()}
    codes = {*endpoint.errors, *((400, 413, 415, 422) if endpoint.body else ())}
    responses |= {str(code): _error(_ERRORS[code]) for code in sorted(codes)}
    responses["401"] = _error("Not signed in")
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": endpoint.handler.__name__,
        "tags": [endpoint.tag],
        "parameters": parameters,
        "responses": responses,
    }
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema_of[id(endpoint.body)]}},
        }
    return operation


def _answer(type_: Any, schema_of: dict[int, Any]) -> dict[str, Any]:
    if type_ is None:
        return {"description": "Done"}
    return {"description": "Done", "content": {"application/json": {"schema": schema_of[id(type_)]}}}


def _error(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
