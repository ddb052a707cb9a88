"""Imitations of the hubs that models come from, each on top of a host; their files may lie on another one.

Both answer with a redirect to a signed address. What the real ones say was looked up in huggingface_hub
(`hf_raise_for_status`), in Civitai's own route for /api/download/models and in the reference of its API.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, quote

from tests.fakes.model_host.answer import Short, login
from tests.fakes.model_host.content import Content
from tests.fakes.model_host.host import ModelHost
from tests.fakes.model_host.request import Request


@dataclass(frozen=True)
class _HubFile:
    """`body`: of a small file, which the hub sends itself."""

    stored: str
    size: int
    sha256: str
    commit: int
    body: bytes | None


class HuggingFace:
    """/OWNER/NAME/resolve/REVISION/FILE and /api/whoami-v2.

    `tokens`: the repositories that each token has been granted. `site`: the address under which it is known, if not
    that of `host`.
    """

    def __init__(
        self,
        host: ModelHost,
        files_on: ModelHost | None = None,
        *,
        tokens: dict[str, set[str]] | None = None,
        link_seconds: float | None = 3600,
        link_uses: int | None = None,
        site: str = "",
    ) -> None:
        self.tokens = tokens or {}
        self.renamed: dict[str, str] = {}
        self._host, self._store, self._site = host, files_on or host, site or host.address
        self._link_seconds, self._link_uses = link_seconds, link_uses
        # The versions of each file, oldest first.
        self._files: dict[tuple[str, str], list[_HubFile]] = {}
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
        small: bool = False,
        **behaviour: Any,
    ) -> str:
        """The URL of a large file; of one that is there already, it is a further version, with a commit of its own.

        `small`: what is no LFS file has no digest that counts, and no store. `behaviour` is that of the place where the
        bytes lie, which is `stored(sha256)`.
        """
        sha256 = sha256 or _sha256(content)
        stored = self.stored(sha256)
        self._store.serve(stored, content, **{"needs_signature": True, "etag": f'"{sha256[:32]}"', **behaviour})
        versions = self._files.setdefault((repository, file), [])
        body = content if small and isinstance(content, bytes) else None
        commit = self._newest(repository) + bool(versions)
        versions.append(_HubFile(stored, Content.of(content).size, sha256, commit, body))
        for group, is_in in ((self._gated, gated), (self._private, private)):
            if is_in:
                group.add(repository)
        return f"{self._site}/{repository}/resolve/main/{quote(file)}"

    def stored(self, sha256: str) -> str:
        """The path on the host with the files."""
        return f"/stored/{sha256}"

    def commit(self, repository: str) -> str:
        """The newest one."""
        return _commit(repository, self._newest(repository))

    def answer(self, request: Request) -> Short | None:
        if request.path == "/api/whoami-v2":
            return self._whoami(request.token)
        repository, found, rest = request.path.removeprefix("/").partition("/resolve/")
        if not found or repository.count("/") != 1:
            return None
        if repository in self.renamed:
            return Short(307, {"Location": quote(f"/{self.renamed[repository]}/resolve/{rest}")})
        revision, _, file = rest.partition("/")
        if refusal := self._refusal(repository, request.token):
            return refusal
        newest = self._newest(repository)
        numbers = {"main": newest} | {_commit(repository, number): number for number in range(newest + 1)}
        if revision not in numbers:
            return _hub_error(404, "RevisionNotFound", f"{repository} has no revision {revision}.")
        versions = [it for it in self._files.get((repository, file), []) if it.commit <= numbers[revision]]
        if not versions:
            return _hub_error(404, "EntryNotFound", f"{repository} has no file {file}.")
        return self._send(versions[-1], _commit(repository, numbers[revision]))

    def _newest(self, repository: str) -> int:
        return max((it.commit for (its, _), all_ in self._files.items() for it in all_ if its == repository), default=0)

    def _whoami(self, token: str) -> Short:
        if token not in self.tokens:
            return _json(401, {"error": "Invalid credentials in Authorization header"})
        return _json(200, {"type": "user", "name": "someone", "auth": {"type": "access_token"}})

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

    def _send(self, file: _HubFile, commit: str) -> Short:
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes", "Content-Type": "text/plain; charset=utf-8"}
        if file.body is not None:
            return Short(200, {**headers, "ETag": f'"{file.sha256[:40]}"'}, file.body)
        target = self._store.sign(file.stored, seconds=self._link_seconds, uses=self._link_uses)
        headers |= {
            "Location": target,
            "X-Linked-Size": str(file.size),
            "X-Linked-ETag": f'"{file.sha256}"',
            "ETag": f'"{file.sha256}"',
        }
        return Short(302, headers, f"The file lies at {target}".encode())


# What somebody without a token is told of a file that is not for everybody.
Locked = Literal["refused", "login"]


@dataclass(frozen=True)
class _VersionFile:
    stored: str
    about: dict[str, Any]

    def is_what(self, query: dict[str, list[str]]) -> bool:
        told = {"type": self.about["type"], **self.about["metadata"]}
        asked = {name: query[name][0] for name in ("type", "format", "size", "fp") if name in query}
        return all(told.get(name) == value for name, value in asked.items())


@dataclass(frozen=True)
class _Version:
    type: str
    locked: Locked | None
    is_early: bool
    files: list[_VersionFile] = field(default_factory=list)

    def file(self, query: dict[str, list[str]]) -> _VersionFile:
        return next((it for it in self.files if it.is_what(query)), self.files[0])


class Civitai:
    """/api/download/models/VERSION, with the token in a header or in the address, /api/v1/model-versions/VERSION and
    /api/v1/me. `site`: the address under which it is known, if not that of `host`."""

    def __init__(
        self,
        host: ModelHost,
        files_on: ModelHost | None = None,
        *,
        tokens: frozenset[str] = frozenset(),
        link_seconds: float | None = 3600,
        link_uses: int | None = None,
        site: str = "",
    ) -> None:
        self.tokens = tokens
        self._host, self._store, self._site = host, files_on or host, site or host.address
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
        model_type: str = "Checkpoint",
        about: dict[str, Any] | None = None,
        **behaviour: Any,
    ) -> str:
        """The URL of a version's first file. `about`: what else the API says of it, beside or instead of what is true.

        `behaviour` is that of the place where its bytes lie, `stored(version)`.
        """
        self._versions[str(version)] = _Version(model_type, locked, early_access)
        return self.add_file(version, content, about={"primary": True, **(about or {})}, **behaviour)

    def add_file(self, version: int, content: bytes | Path, *, about: dict[str, Any], **behaviour: Any) -> str:
        """The URL of a further file of a version, which is told by what the query says of it."""
        files = self._versions[str(version)].files
        stored = self.stored(version, len(files))
        self._store.serve(stored, content, **{"needs_signature": True, **behaviour})
        told = {
            "name": stored.rpartition("/")[2],
            "type": "Model",
            "sizeKB": Content.of(content).size / 1024,
            "metadata": {"format": "SafeTensor"},
            "hashes": {"SHA256": _sha256(content).upper()},
        }
        files.append(_VersionFile(stored, {**told, **about}))
        return f"{self._site}/api/download/models/{version}"

    def stored(self, version: int, number: int = 0) -> str:
        """The path on the host with the files."""
        return f"/model/{version}/file{number or ''}.safetensors"

    def answer(self, request: Request) -> Short | None:
        token = request.token or parse_qs(request.query).get("token", [""])[0]
        if request.path == "/api/v1/me":
            known = token in self.tokens
            return _json(200, {"id": 1, "username": "someone"}) if known else _json(401, {"error": "Unauthorized"})
        for start, answer in (("/api/v1/model-versions/", self._describe), ("/api/download/models/", self._send)):
            _, found, version_id = request.path.partition(start)
            if found:
                version = self._versions.get(version_id)
                return answer(version_id, version, request, token) if version else _json(404, {"error": "Not found"})
        return None

    def _describe(self, version_id: str, version: _Version, _request: Request, _token: str) -> Short:
        said = {
            "id": int(version_id),
            "name": "v1",
            "baseModel": "SDXL 1.0",
            "availability": "EarlyAccess" if version.is_early else "Public",
            "model": {"name": "A model", "type": version.type},
            "files": [file.about for file in version.files],
            "images": [],
        }
        return _json(200, said)

    def _send(self, version_id: str, version: _Version, request: Request, token: str) -> Short:
        if version.is_early:
            deadline = "2099-01-01T00:00:00.000Z"
            return _json(403, {"error": "Early Access", "deadline": deadline, "message": "Not for everybody yet."})
        if version.locked and token not in self.tokens:
            if version.locked == "login":
                return Short(307, {"Location": login(f"/model-versions/{version_id}")})
            return _json(401, {"error": "Unauthorized", "message": "This file is only for those who log in."})
        file = version.file(parse_qs(request.query))
        target = self._store.sign(file.stored, seconds=self._link_seconds, uses=self._link_uses)
        return Short(307, {"Location": target})


def _commit(repository: str, number: int) -> str:
    return hashlib.sha1(f"{repository} {number}".encode(), usedforsecurity=False).hexdigest()


def _hub_error(status: int, code: str, message: str) -> Short:
    headers = {"X-Error-Code": code, "X-Error-Message": message, "Content-Type": "text/plain; charset=utf-8"}
    return Short(status, headers, message.encode())


def _json(status: int, content: dict[str, Any]) -> Short:
    return Short(status, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(content).encode())


def _sha256(content: bytes | Path) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
