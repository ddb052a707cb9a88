"""Entries of a file of presets: one that is in order, and ways to break it."""

from typing import Any


def entry(**changes: Any) -> dict[str, Any]:
    """A preset that is in order, but for `changes`."""
    return {
        "id": "TINY",
        "name": "Tiny",
        "kind": "image",
        "description": "For tests.",
        "files": [model()],
        **changes,
    }


def model(**changes: Any) -> dict[str, Any]:
    return {
        "url": "https://example.com/tiny.safetensors",
        "folder": "checkpoints",
        "name": "tiny.safetensors",
        "size_bytes": 10,
        "sha256": "0" * 64,
        **changes,
    }


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in entry().items() if name != field}


# Each with the field that its error names.
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no name": (without("name"), "name"),
    "no kind": (without("kind"), "kind"),
    "no files": (without("files"), "files"),
    "an empty list of files": (entry(files=[]), "files"),
    "a kind nobody knows": (entry(kind="hologram"), "kind"),
    "a field nobody knows": (entry(colour="red"), "colour"),
    "text for a number": (entry(vram_bytes="8 GB"), "vram_bytes"),
    "a negative size": (entry(files=[model(size_bytes=-1)]), "files[0].size_bytes"),
    "a size of nothing": (entry(files=[model(size_bytes=0)]), "files[0].size_bytes"),
    "half a digest": (entry(files=[model(sha256="0" * 32)]), "files[0].sha256"),
    "a digest with a line's end": (entry(files=[model(sha256="0" * 64 + "\n")]), "files[0].sha256"),
    "an unknown field of a file": (entry(files=[model(sha1="0" * 40)]), "files[0].sha1"),
    "a workflow that is a list": (entry(workflow=[]), "workflow"),
    "a file without a suffix": (entry(files=[model(name="tiny")]), "files[0].name"),
    "an address without a scheme": (entry(files=[model(url="example.com/a.safetensors")]), "files[0].url"),
    "an address of another kind": (entry(files=[model(url="ftp://example.com/a.safetensors")]), "files[0].url"),
    "an address of a file": (entry(files=[model(url="file:///etc/passwd")]), "files[0].url"),
    "an address without a host": (entry(files=[model(url="https:///a.safetensors")]), "files[0].url"),
    "an address with half a bracket": (entry(files=[model(url="https://[half/a.safetensors")]), "files[0].url"),
    "an address with a port that is none": (entry(files=[model(url="https://example.com:x/a")]), "files[0].url"),
    "an address of two lines": (entry(files=[model(url="https://example.com/a\nb")]), "files[0].url"),
    "an address with a space": (entry(files=[model(url="https://example.com/a b")]), "files[0].url"),
    "an address that is not written out": (entry(files=[model(url="https://example.com/é")]), "files[0].url"),
    "the same file twice": (entry(files=[model(), model(url="https://example.com/other")]), "files"),
}
