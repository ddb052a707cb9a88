"""Civitai: its links, and what its refusals and its pages mean.

What the download API answers: 401 for a file that needs an account or may not be downloaded at all, 403 in early
access, 404 and 410 for what is gone, each with JSON that holds `error` and `message`; or a redirect to the login or
to the model's page.
"""

import json
import re
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qs, unquote_plus, urlsplit

from services.errors import DownloadFailed
from services.log import redact
from services.sources.addresses import split
from services.sources.troubles import Trouble

SITE = "https://civitai.com"
# The only hosts that get the token.
HOSTS = frozenset({"civitai.com", "www.civitai.com"})
# The same site with the same API, for other readers; asked at SITE, so that the token needs to go there only.
_TWINS = frozenset({"civitai.red", "www.civitai.red"})
_LOGIN = "auth.civitai.com"

_DOWNLOAD = re.compile(r"/api/download/models/([0-9]+)")
_MODEL_PAGE = re.compile(r"/models/[0-9]+(/.*)?")
_VERSION_PAGE = re.compile(r"/model-versions/([0-9]+)")


def link(url: str) -> str:
    """`url`, of the file itself where it is that of its page. Raises DownloadFailed when it names no version."""
    parts = split(url)
    if parts.scheme != "https" or parts.hostname not in HOSTS | _TWINS:
        return url
    if _MODEL_PAGE.fullmatch(parts.path):
        return _api_link(_version_of(parts))
    if page := _VERSION_PAGE.fullmatch(parts.path):
        return _api_link(page[1])
    if _DOWNLOAD.fullmatch(parts.path):
        host = SITE if parts.hostname in _TWINS else f"{parts.scheme}://{parts.netloc}"
        query = _without_token(parts.query)
        return f"{host}{parts.path}" + (f"?{query}" if query else "")
    return url


def _without_token(query: str) -> str:
    """What is added is kept in records that everyone reads. The token that was saved goes in a header instead."""
    return "&".join(part for part in query.split("&") if unquote_plus(part.partition("=")[0]).lower() != "token")


def version_of(url: str) -> str | None:
    """The number of the version whose file `url` is; None when it is none of Civitai's download API."""
    parts = split(url)
    found = _DOWNLOAD.fullmatch(parts.path) if parts.scheme == "https" and parts.hostname in HOSTS else None
    return found[1] if found else None


def is_login(parts: SplitResult) -> bool:
    """Whether this is where one is sent to log in."""
    return parts.hostname == _LOGIN or (parts.hostname in HOSTS | _TWINS and parts.path.rstrip("/") == "/login")


def explain(status: int, url: str, body: bytes, *, has_token: bool) -> Trouble | None:
    """What Civitai means by refusing `url`, and what to do; None if it is nothing of its own."""
    said, page = _said(body), _page(url)
    if status == 401:
        return _unauthorized(said, page, has_token=has_token)
    if status == 403:
        return _forbidden(said, page, has_token=has_token)
    if status in {404, 410}:
        text = f"Civitai has no such file any more (HTTP {status}): it was taken down or replaced; see {page}"
        return Trouble("missing", text, page)
    return None


def explain_login(*, has_token: bool) -> Trouble:
    """Why the redirects led to the login."""
    return _unauthorized({}, None, has_token=has_token)


def explain_page(url: str) -> Trouble:
    """Why a page came instead of the file, `url` being where the redirects led."""
    page = _page(url)
    text = f"Civitai sent a page instead of the file: it may be in early access; see {page}"
    return Trouble("not_a_file", text, page)


def _unauthorized(said: Mapping[str, str], page: str | None, *, has_token: bool) -> Trouble:
    if "disabled download" in said.get("message", "").lower():
        text = "the creator of this model does not allow it to be downloaded from Civitai"
        return Trouble("forbidden", text, page)
    if has_token:
        text = "Civitai refused CIVITAI_TOKEN: make a new one in the account settings there"
    else:
        text = "Civitai gives this file only to those who log in: set CIVITAI_TOKEN"
    return Trouble("unauthorized", text, page, "CIVITAI_TOKEN")


def _forbidden(said: Mapping[str, str], page: str, *, has_token: bool) -> Trouble:
    text = f"{said.get('error', '')} {said.get('message', '')}".strip()
    if text and "early access" not in text.lower():
        text = f"Civitai does not allow this download (HTTP 403): {redact(text)[:200]}"
        return Trouble("forbidden", text, page)
    certainly = "is" if text else "may be"
    deadline = re.match(r"\d{4}-\d\d-\d\d", said.get("deadline", ""))
    until = f" until {deadline[0]}" if deadline else ""
    text = (
        f"the model {certainly} in early access{until} (HTTP 403): "
        f"wait, or buy it at {page} with the account that CIVITAI_TOKEN is of"
    )
    return Trouble("early_access", text, page, None if has_token else "CIVITAI_TOKEN")


def _said(body: bytes) -> dict[str, str]:
    """The texts of Civitai's JSON; none if it is something else."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    texts = found.items() if isinstance(found, dict) else ()
    return {name: "".join(filter(str.isprintable, text)) for name, text in texts if isinstance(text, str)}


def _version_of(parts: SplitResult) -> str:
    versions = parse_qs(parts.query).get("modelVersionId", [])
    if len(versions) != 1 or not re.fullmatch(r"[0-9]+", versions[0]):
        raise DownloadFailed(
            f"{SITE}{parts.path} is the page of a model, which may have several versions: "
            "choose one there, and take the link that ends in ?modelVersionId= and a number",
            permanent=True,
            details={"kind": "not_a_file", "page": f"{SITE}{parts.path}"},
        )
    return versions[0]


def _api_link(version: str) -> str:
    return f"{SITE}/api/download/models/{version}"


def _page(url: str) -> str:
    """Where a person can look at the file of `url`."""
    path = urlsplit(url).path
    if version := _DOWNLOAD.fullmatch(path):
        return f"{SITE}/model-versions/{version[1]}"
    return f"{SITE}{path}" if _VERSION_PAGE.fullmatch(path) or _MODEL_PAGE.fullmatch(path) else SITE
