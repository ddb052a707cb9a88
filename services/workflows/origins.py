"""What a graph says itself of where its nodes and its files come from: `properties` of its nodes, in subgraphs too.

`models` name files with an address, `cnr_id` (in the registry of node packs) or `aux_id` (`owner/repository` on GitHub)
the pack that brings the class; `ver` its version, or its commit.
"""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from services.artifacts import Artifact
from services.errors import DownloadFailed
from services.model_folders import LEGACY_FOLDERS
from services.presets import InvalidPreset, check_file
from services.sources import civitai, hugging_face
from services.workflows.document import Graph
from services.workflows.inner_graphs import all_nodes, nodes_of

# ComfyUI's own classes.
CORE = "comfy-core"
_REPOSITORY = re.compile(r"[A-Za-z0-9-]{1,39}/[A-Za-z0-9._-]{1,100}")
_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Origin(Struct, frozen=True):
    """Of a node class: `id` in the registry, `repository` on GitHub, `version`; each None where it is not said."""

    id: str | None
    repository: str | None
    version: str | None


class Origins(Struct, frozen=True):
    """`titles` by node id, of those that someone named; `classes` by class; `files` in the order of the nodes.

    `directories`: the folder of each file that is named, by its last part, also without a usable address.
    """

    titles: Mapping[str, str] = {}
    classes: Mapping[str, Origin] = {}
    files: tuple[Artifact, ...] = ()
    directories: Mapping[str, str] = {}

    @property
    def is_core(self) -> bool:
        """Whether all of `classes`, and at least one, are ComfyUI's own."""
        return bool(self.classes) and all(origin.id == CORE for origin in self.classes.values())


def origins(graph: Graph | None) -> Origins:
    titles: dict[str, str] = {}
    classes: dict[str, Origin] = {}
    files: dict[tuple[str, str], Artifact] = {}
    directories: dict[str, str] = {}
    outer = graph or {}
    for node in nodes_of(outer):
        if isinstance(title := node.get("title"), str) and title:
            titles[str(node.get("id"))] = title
    for node in all_nodes(outer):
        properties = node.get("properties")
        if not isinstance(properties, Mapping):
            continue
        if isinstance(kind := node.get("type"), str) and (origin := _origin(properties)) is not None:
            classes.setdefault(kind, origin)
        models = properties.get("models")
        for model in models if isinstance(models, list) else ():
            if isinstance(model, Mapping) and (named := _named(model)) is not None:
                folder, name = named
                directories.setdefault(name.rsplit("/", 1)[-1], folder)
                if (file := _file(model, folder, name)) is not None:
                    files.setdefault((file.folder, file.name), file)
    return Origins(titles, classes, tuple(files.values()), directories)


def _origin(properties: Mapping[str, Any]) -> Origin | None:
    id_, repository, version = (properties.get(key) for key in ("cnr_id", "aux_id", "ver"))
    origin = Origin(
        id=id_ if isinstance(id_, str) and _ID.fullmatch(id_) else None,
        repository=repository if isinstance(repository, str) and _REPOSITORY.fullmatch(repository) else None,
        version=version if isinstance(version, str) and _ID.fullmatch(version) else None,
    )
    return origin if origin.id or origin.repository else None


def _named(model: Mapping[str, Any]) -> tuple[str, str] | None:
    """(folder, name)."""
    folder, name = model.get("directory"), model.get("name")
    if not isinstance(folder, str) or not _ID.fullmatch(folder) or not isinstance(name, str) or len(name) > 1_000:
        return None
    return LEGACY_FOLDERS.get(folder, folder), name.replace("\\", "/")


def _file(model: Mapping[str, Any], folder: str, name: str) -> Artifact | None:
    """None for one whose address is none, or not one of https: whoever made the workflow chose it."""
    url, digest = model.get("url"), model.get("hash")
    if not isinstance(url, str) or not url.startswith("https://") or len(url) > 4_000:
        return None
    # Hugging Face's way of asking browsers to save what they get: the same bytes.
    if url.startswith("https://huggingface.co/"):
        url = url.removesuffix("?download=true")
    try:
        # Also where it is that of the file's page, and without anyone's token.
        url = hugging_face.link(civitai.link(url))
    except DownloadFailed:
        return None
    is_sha256 = str(model.get("hash_type", "")).upper() == "SHA256"
    sha256 = digest.lower() if is_sha256 and isinstance(digest, str) else ""
    file = Artifact(url, folder, name, sha256=sha256 if _SHA256.fullmatch(sha256) else None)
    try:
        check_file(file)
    except InvalidPreset:
        return None
    return file
