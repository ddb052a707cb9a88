"""What Civitai's API says of a model version: `GET /api/v1/model-versions/{id}`.

https://developer.civitai.com/site/reference/model-versions
"""

import re
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Struct, field

from services.sources.civitai import SITE, version_of

# A version may have hundreds of pictures, which are described as well.
MAX_BYTES = 4 * 1024 * 1024

# Civitai's types of models, and of files within one, by ComfyUI's folder; what is not here fits no folder for certain.
_FOLDERS = {
    "checkpoint": "checkpoints",
    "lora": "loras",
    "locon": "loras",
    "dora": "loras",
    "textualinversion": "embeddings",
    "vae": "vae",
    "controlnet": "controlnet",
    "upscaler": "upscale_models",
    "hypernetwork": "hypernetworks",
}
_SHA256 = re.compile(r"[0-9a-f]{64}")


class _Hashes(Struct, frozen=True):
    sha256: str | None = field(name="SHA256", default=None)


class _Metadata(Struct, frozen=True):
    format: str | None = None
    size: str | None = None
    fp: str | None = None


class _Model(Struct, frozen=True):
    type: str = ""


class VersionFile(Struct, frozen=True):
    """One file of a version. `name` is what the uploader called it."""

    name: str | None = None
    size_kb: float | None = field(name="sizeKB", default=None)
    type: str | None = None
    primary: bool | None = None
    metadata: _Metadata | None = None
    hashes: _Hashes | None = None

    @property
    def size_bytes(self) -> int | None:
        """The exact length, where the number says it: a fraction that makes whole bytes was not rounded."""
        if self.size_kb is None or self.size_kb.is_integer():
            return None
        size = self.size_kb * 1024
        return int(size) if size.is_integer() and size > 0 else None

    @property
    def sha256(self) -> str | None:
        digest = (self.hashes.sha256 or "").lower() if self.hashes else ""
        return digest if _SHA256.fullmatch(digest) else None

    def is_what(self, wanted: dict[str, str]) -> bool:
        """Whether it is of the kind that the query of a link asks for."""
        metadata = self.metadata or _Metadata()
        mine = {"type": self.type, "format": metadata.format, "size": metadata.size, "fp": metadata.fp}
        return all((mine[name] or "").lower() == value.lower() for name, value in wanted.items())


class Version(Struct, frozen=True):
    files: tuple[VersionFile, ...] = ()
    model: _Model = _Model()
    availability: str | None = None

    @property
    def is_early(self) -> bool:
        return self.availability == "EarlyAccess"

    def file(self, url: str) -> VersionFile | None:
        """The one that the download link `url` leads to; None when that cannot be told."""
        query = parse_qsl(urlsplit(url).query)
        wanted = {name: value for name, value in query if name in {"type", "format", "size", "fp"}}
        found = [file for file in self.files if file.is_what(wanted)]
        return next((file for file in found if file.primary), found[0] if len(found) == 1 else None)

    def folder(self, file: VersionFile | None) -> str | None:
        """The model folder that fits; None when there is none for certain."""
        own = _FOLDERS.get((file.type or "").lower()) if file else None
        return own or _FOLDERS.get(self.model.type.lower())


_decode = msgspec.json.Decoder(Version).decode


def api_link(url: str) -> str | None:
    """Where the version of the download link `url` is described; None when it is no such link."""
    version = version_of(url)
    return f"{SITE}/api/v1/model-versions/{version}" if version else None


def read(body: bytes) -> Version | None:
    """None for what does not look like a version."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
