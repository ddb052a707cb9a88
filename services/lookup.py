"""What is known of the file at an address before a byte of it is fetched: asked of its host."""

import http.client
import re
from collections.abc import Mapping
from email.message import Message
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from services.downloads.offer import MOST_BYTES, read_offer
from services.errors import DownloadFailed, InvalidName
from services.http_stream import Client, HttpStream
from services.model_folders import KNOWN_FOLDERS, LEGACY_FOLDERS
from services.sources import Sources, Trouble, addresses, civitai_versions
from services.workspace import check_name

# A host that does not answer HEAD may answer GET.
_NO_HEAD = frozenset({403, 405, 501})
# A name has 240 bytes at most, three letters each. Reading a header of 64 KiB that is all semicolons takes seconds.
_DISPOSITION_MAX = 4096


class Described(Struct, frozen=True):
    """`url`: of the file itself, also where a page was asked for. None: the host does not say.

    `name`, `folder`: what the file could be called, and the model folder where it could lie.
    """

    url: str
    name: str | None = None
    folder: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    commit: str | None = None
    etag: str | None = None


def look_up(client: Client, sources: Sources, url: str) -> Described:
    """Raises DownloadFailed when the file cannot be had, OSError and http.client.HTTPException as `Client.get` does."""
    _check_is_address(url)
    link = sources.link(url)
    if about := civitai_versions.api_link(link):
        return _on_civitai(client, sources, link, about)
    stream = client.head(link)
    if stream.status in _NO_HEAD and not sources.is_hugging_face(stream.url):
        return _measured(client, sources, link)
    etag, size_bytes = _of_head(stream, sources)
    return Described(
        link,
        name=_name(link, stream.headers),
        folder=_folder_of(link),
        size_bytes=size_bytes or None,
        sha256=stream.promise.sha256,
        commit=stream.promise.commit,
        etag=etag,
    )


def _check_is_address(url: str) -> None:
    """Raises DownloadFailed, permanent."""
    try:
        parts = addresses.split(url)
        is_address = parts.scheme in addresses.PORTS and bool(parts.hostname)
    except DownloadFailed:
        is_address = False
    if not is_address:
        text = f"'{addresses.shown(url)}' is not the address of a file: one begins with https://"
        raise Trouble("not_a_file", text).failure(permanent=True)


def _of_head(stream: HttpStream, sources: Sources) -> tuple[str | None, int | None]:
    """(ETag, length). Raises DownloadFailed."""
    headers, promise = stream.headers, stream.promise
    if promise.size_bytes is not None and promise.sha256 is not None:
        return None, promise.size_bytes
    if stream.status != 200:
        raise sources.refusal(stream.status, stream.url, headers)
    if (page := sources.not_the_file(stream.url, headers.get("content-type", ""))) is not None:
        raise page
    length = headers.get("content-length", "")
    is_plain = headers.get("content-encoding", "identity").strip().lower() == "identity"
    is_number = is_plain and re.fullmatch(r"[0-9]{1,16}", length) is not None
    return _strong(headers.get("etag")), int(length) if is_number and int(length) <= MOST_BYTES else None


def _measured(client: Client, sources: Sources, link: str) -> Described:
    """By a GET for one byte, whose body is not read."""
    stream = client.get(link, {"Range": "bytes=0-0"})
    try:
        offer = read_offer(stream, sources)
    finally:
        # The host may be sending all of it.
        client.close()
    return Described(
        link,
        name=_name(link, stream.headers),
        folder=_folder_of(link),
        size_bytes=offer.total or None,
        etag=offer.etag,
    )


def _on_civitai(client: Client, sources: Sources, link: str, about: str) -> Described:
    """The API says what the file is, and the download link what the API leaves out: HEAD is refused where it leads."""
    stream = client.get(about, {})
    body = _body(stream, civitai_versions.MAX_BYTES)
    if stream.status != 200:
        raise sources.refusal(stream.status, link, stream.headers, body)
    version = civitai_versions.read(body) or civitai_versions.Version()
    file = version.file(link)
    size_bytes, sha256 = (file.size_bytes, file.sha256) if file else (None, None)
    measured = None
    if size_bytes is None or version.is_early:
        measured = _measured(client, sources, link)
    return Described(
        link,
        name=_proper(file.name if file else None) or (measured.name if measured else None),
        folder=version.folder(file),
        size_bytes=measured.size_bytes if measured and measured.size_bytes else size_bytes,
        sha256=sha256,
    )


def _body(stream: HttpStream, limit: int) -> bytes:
    """Raises DownloadFailed when it is longer, OSError and http.client.HTTPException when it does not come."""
    pieces, size, buffer = [], 0, memoryview(bytearray(64 * 1024))
    while count := stream.read_into(buffer):
        pieces.append(bytes(buffer[:count]))
        size += count
        if size > limit:
            raise DownloadFailed(f"{urlsplit(stream.url).hostname} sent more than {limit} bytes", permanent=False)
    if not stream.is_read and stream.length is not None:
        raise http.client.IncompleteRead(b"".join(pieces), stream.length - size)
    return b"".join(pieces)


def _name(link: str, headers: Mapping[str, str]) -> str | None:
    """What the host calls the file, else the last part of its address."""
    said = _told_name(headers.get("content-disposition", ""))
    return _proper(said) or _proper(unquote(urlsplit(link).path).rpartition("/")[2])


def _told_name(disposition: str) -> str | None:
    told = Message()
    told["Content-Disposition"] = disposition if len(disposition) <= _DISPOSITION_MAX else ""
    try:
        return told.get_filename()
    except ValueError:
        # It names an alphabet that there is not, or that cannot be read so.
        return None


def _proper(name: str | None) -> str | None:
    try:
        return check_name(name) if name else None
    except InvalidName:
        return None


def _folder_of(link: str) -> str | None:
    """The model folder that the address names, such as `vae` in `…/split_files/vae/ae.safetensors`."""
    for part in reversed(unquote(urlsplit(link).path).split("/")[:-1]):
        name = LEGACY_FOLDERS.get(part, part)
        if name in KNOWN_FOLDERS:
            return name
    return None


def _strong(etag: str | None) -> str | None:
    return etag if etag and not etag.startswith("W/") else None
