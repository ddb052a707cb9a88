"""Hugging Face: its links, what it promises of a file, what its refusals mean.

What the hub answers: 401 without a code for a repository that does not exist or is private when no token was sent
(404 RepoNotFound with one), 401 or 403 with GatedRepo for one whose licence is not accepted, 404 with EntryNotFound
or RevisionNotFound, 401 without a code for a token that it does not know.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from services.log import redact
from services.sources.addresses import split
from services.sources.troubles import Trouble

SITE = "https://huggingface.co"

_REPOSITORY = r"(?:(?:datasets|spaces)/)?[^/?#]+/[^/?#]+"
# Of a big file /blob/ is a page and /raw/ the pointer that git keeps.
_BROWSED = re.compile(rf"^({re.escape(SITE)}/{_REPOSITORY})/(?:blob|raw)/")
_FILE = re.compile(rf"(?:^|/)({_REPOSITORY})/resolve/([^/]+)/(.+)")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REVISION = re.compile(rf"({re.escape(SITE)}/{_REPOSITORY}/resolve/)([^/?#]+)(/[^?#]+(?:\?[^#]*)?)")
_SOME_PAGE = "the model's page"
_TAKEN_DOWN = "Access to this resource is disabled."


@dataclass(frozen=True)
class Promise:
    """What the hub says of a file before it sends it; None where it says nothing."""

    size_bytes: int | None = None
    sha256: str | None = None
    commit: str | None = None


def link(url: str) -> str:
    """`url`, of the file itself where it is that of its page."""
    return _BROWSED.sub(r"\1/resolve/", url, count=1)


def promise(headers: Mapping[str, str]) -> Promise:
    """What the headers of the hub's own answer say, the redirect's included.

    Only X-Linked-ETag is a sha256: the store's own ETag looks like one and is the hash of something else.
    """
    etag = headers.get("x-linked-etag", "").strip().removeprefix("W/").strip('"')
    size, commit = headers.get("x-linked-size", "").strip(), headers.get("x-repo-commit", "").strip()
    return Promise(
        size_bytes=int(size) if re.fullmatch(r"[0-9]{1,18}", size) else None,
        sha256=etag if _SHA256.fullmatch(etag) else None,
        commit=commit if _COMMIT.fullmatch(commit) else None,
    )


def pinned(url: str, commit: str) -> str | None:
    """The address of the same file as it was at `commit`; None when `url` is no file of the hub or names a commit."""
    found = _REVISION.fullmatch(link(url))
    if found is None or _COMMIT.fullmatch(found[2]):
        return None
    return f"{found[1]}{commit}{found[3]}"


def explain(status: int, url: str, headers: Mapping[str, str], *, has_token: bool) -> Trouble | None:
    """What the hub, or a mirror of it, means by refusing `url`, and what to do; None if it is nothing of its own."""
    code = headers.get("x-error-code", "")
    found = _FILE.search(split(url).path)
    repository, revision, file = (unquote(part) for part in found.groups()) if found else ("the repository", "", "")
    page = f"{SITE}/{repository}" if found else None
    if code == "GatedRepo":
        return _gated(repository if found else None, status, has_token=has_token)
    if code == "EntryNotFound":
        text = f"{repository} has no file '{file}' at revision '{revision}' (HTTP {status}): check the link"
        return Trouble("missing", text, page)
    if code == "RevisionNotFound":
        return Trouble("missing", f"{repository} has no revision '{revision}' (HTTP {status}): check the link", page)
    if headers.get("x-error-message") == _TAKEN_DOWN:
        return Trouble("missing", f"Hugging Face has taken {repository} down (HTTP {status})")
    if code == "RepoNotFound" or (status == 401 and not has_token):
        remedy = "it is private and HF_TOKEN may not read it" if has_token else "it is private: set HF_TOKEN"
        text = f"{repository} does not exist (HTTP {status}): check the link; or {remedy}"
        return Trouble("missing", text, page, None if has_token else "HF_TOKEN")
    if status == 401:
        page = f"{SITE}/settings/tokens"
        text = f"Hugging Face refused HF_TOKEN (HTTP 401): make a new one at {page}"
        return Trouble("unauthorized", text, page, "HF_TOKEN")
    return _forbidden(repository, page, headers, has_token=has_token) if status == 403 else None


def _gated(repository: str | None, status: int, *, has_token: bool) -> Trouble:
    name = repository or "the model"
    page = f"{SITE}/{repository}" if repository else None
    text = f"{name} is gated (HTTP {status}): accept its licence at {page or _SOME_PAGE}"
    if has_token:
        return Trouble("gated", f"{text}, with the account that HF_TOKEN is of", page)
    return Trouble("gated", f"{text}, then set HF_TOKEN", page, "HF_TOKEN")


def _forbidden(repository: str, page: str | None, headers: Mapping[str, str], *, has_token: bool) -> Trouble:
    """A 403 without a code: a token that may not do this, for example. The hub's own words say more."""
    told = "".join(letter for letter in headers.get("x-error-message", "") if letter.isprintable())
    because = f": {redact(told)[:200]}" if told else ""
    whom = "HF_TOKEN" if has_token else "anyone without HF_TOKEN"
    text = f"Hugging Face does not let {whom} read {repository} (HTTP 403){because}"
    return Trouble("forbidden", text, page, "HF_TOKEN")
