"""Imitations of the hubs that models come from, each on top of a host; their files may lie on another one.

Both answer with a redirect to a signed address. What the real ones say was looked up in huggingface_hub
(`hf_raise_for_status`) and in Civitai's own route for /api/download/models.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs

from tests.fakes.model_host.answer import Short, login
from tests.fakes.model_host.content import Content
from tests.fakes.model_host.host import ModelHost
from tests.fakes.model_host.request import Request

_COMMIT = hashlib.sha1(b"the only commit", usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class _HubFile:
    stored: str
    size: int
    sha256: str


class HuggingFace:
    """/OWNER/NAME/resolve/REVISION/FILE. `tokens`: the repositories that each token has been granted."""

    def __init__(
        self,
        host: ModelHost,
        files_on: ModelHost | None = None,
        *,
        tokens: dict[str, set[str]] | None = None,
        link_seconds: float | None = 3600,
        link_uses: int | None = None,
    ) -> None:
        self.tokens = tokens or {}
        self._host, self._store = host, files_on or host
        self._link_seconds, self._link_uses = link_seconds, link_uses
        self._files: dict[tuple[str, str], _HubFile] = {}
        self._gated: set[str] = set()
        self._private: set[str] = set()
        host.sites.append(self)

    def add(
        self,
        repository: str,
        file: str,
        content: bytes | Path,
        *,
        sha256: str | None = None,
        gated: bool = False,
        private: bool = False,
        **behaviour: Any,
    ) -> str:
        """The URL of a large file. `behaviour` is that of the place where its bytes lie, which is `stored(sha256)`."""
        sha256 = sha256 or _sha256(content)
        stored = self.stored(sha256)
        self._store.serve(stored, content, **{"needs_signature": True, "etag": f'"{sha256[:32]}"', **behaviour})
        self._files[repository, file] = _HubFile(stored, Content.of(content).size, sha256)
        for group, is_in in ((self._gated, gated), (self._private, private)):
            if is_in:
                group.add(repository)
        return self._host.url(f"/{repository}/resolve/main/{file}")

    def stored(self, sha256: str) -> str:
        """The path on the host with the files."""
        return f"/stored/{sha256}"

    def answer(self, request: Request) -> Short | None:
        repository, found, rest = request.path.removeprefix("/").partition("/resolve/")
        if not found or repository.count("/") != 1:
            return None
        revision, _, file = rest.partition("/")
        if refusal := self._refusal(repository, request.token):
            return refusal
        if revision not in {"main", _COMMIT}:
            return _hub_error(404, "RevisionNotFound", f"{repository} has no revision {revision}.")
        if (repository, file) not in self._files:
            return _hub_error(404, "EntryNotFound", f"{repository} has no file {file}.")
        return self._redirect(self._files[repository, file])

    def _refusal(self, repository: str, token: str) -> Short | None:
        known = token in self.tokens
        granted = known and repository in self.tokens[token]
        exists = any(repository == its for its, _ in self._files)
        if not exists or (repository in self._private and not granted):
            # Without a token the hub does not tell what is missing from what is private.
            return _hub_error(404 if known else 401, "RepoNotFound", f"There is no {repository} to be seen.")
        if repository in self._gated and not granted:
            message = f"{repository} is only for those who were granted access."
            return _hub_error(403 if known else 401, "GatedRepo", message)
        return None

    def _redirect(self, file: _HubFile) -> Short:
        target = self._store.sign(file.stored, seconds=self._link_seconds, uses=self._link_uses)
        headers = {
            "Location": target,
            "X-Repo-Commit": _COMMIT,
            "X-Linked-Size": str(file.size),
            "X-Linked-ETag": f'"{file.sha256}"',
            "ETag": f'"{file.sha256}"',
            "Accept-Ranges": "bytes",
            "Content-Type": "text/plain; charset=utf-8",
        }
        return Short(302, headers, f"The file lies at {target}".encode())


# What somebody without a token is told of a file that is not for everybody.
Locked = Literal["refused", "login"]


@dataclass(frozen=True)
class _Version:
    stored: str
    locked: Locked | None
    is_early: bool


class Civitai:
    """/api/download/models/VERSION, with the token in a header or in the address."""

    def __init__(
        self,
        host: ModelHost,
        files_on: ModelHost | None = None,
        *,
        tokens: frozenset[str] = frozenset(),
        link_seconds: float | None = 3600,
        link_uses: int | None = None,
    ) -> None:
        self.tokens = tokens
        self._host, self._store = host, files_on or host
        self._link_seconds, self._link_uses = link_seconds, link_uses
        self._versions: dict[str, _Version] = {}
        host.sites.append(self)

    def add(
        self,
        version: int,
        content: bytes | Path,
        *,
        locked: Locked | None = None,
        early_access: bool = False,
        **behaviour: Any,
    ) -> str:
        """The URL of a version's file. `behaviour` is that of the place where its bytes lie, `stored(version)`."""
        self._store.serve(self.stored(version), content, **{"needs_signature": True, **behaviour})
        self._versions[str(version)] = _Version(self.stored(version), locked, early_access)
        return self._host.url(f"/api/download/models/{version}")

    def stored(self, version: int) -> str:
        """The path on the host with the files."""
        return f"/model/{version}/file.safetensors"

    def answer(self, request: Request) -> Short | None:
        _, found, version_id = request.path.partition("/api/download/models/")
        if not found:
            return None
        version = self._versions.get(version_id)
        if version is None:
            return _json(404, {"error": "File not found"})
        if version.is_early:
            deadline = "2099-01-01T00:00:00.000Z"
            return _json(403, {"error": "Early Access", "deadline": deadline, "message": "Not for everybody yet."})
        token = request.token or parse_qs(request.query).get("token", [""])[0]
        if version.locked and token not in self.tokens:
            if version.locked == "login":
                return Short(307, {"Location": login(f"/model-versions/{version_id}")})
            return _json(401, {"error": "Unauthorized", "message": "This file is only for those who log in."})
        return Short(
            307, {"Location": self._store.sign(version.stored, seconds=self._link_seconds, uses=self._link_uses)}
        )


def _hub_error(status: int, code: str, message: str) -> Short:
    headers = {"X-Error-Code": code, "X-Error-Message": message, "Content-Type": "text/plain; charset=utf-8"}
    return Short(status, headers, message.encode())


def _json(status: int, content: dict[str, str]) -> Short:
    return Short(status, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(content).encode())


def _sha256(content: bytes | Path) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
