"""`python -m tests.fakes.model_host FOLDER`: serves the files of a folder, with faults to try a download against."""

import argparse
import dataclasses
import signal
import sys
import types
import typing
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tests.fakes.model_host.behaviour import ALWAYS, Behaviour
from tests.fakes.model_host.host import ModelHost
from tests.fakes.model_host.hubs import Civitai, HuggingFace
from tests.fakes.model_host.tls import OWN_NAMES, TlsFault

_EXAMPLES = """\
examples:
  FOLDER --throttle 25e6                              every connection gets 25 MB/s
  FOLDER --break-after 1e6 --break-every 3            each third answer breaks off after 1 MB
  FOLDER --status 503 --status-times 2 --retry-after 1   two refusals, then the file
  FOLDER --only '*.gguf' --corrupt-at 5000 --corruptions 1   one spoilt answer, for some files
  FOLDER --tls --signed-seconds 30                    signed addresses, valid for 30 s
  FOLDER --hugging-face owner/name --gated --token hf_x   a gated repository; hf_x may have it
"""


def main() -> None:
    options = _parser().parse_args()
    names = tuple(options.name or OWN_NAMES)
    host = ModelHost(options.port, tls=options.tls, tls_fault=options.tls_fault, names=names)
    offer = _Offer(host, options)
    for file in sorted(path for path in options.folder.rglob("*") if path.is_file()):
        print(offer.add(file), flush=True)
    if host.tls:
        print(f"trust the hosts with --cacert {host.ca_file}, or SSL_CERT_FILE={host.ca_file}", flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit())
    host.serve_forever()


class _Offer:
    """Puts files on the host the way the options say."""

    def __init__(self, host: ModelHost, options: argparse.Namespace) -> None:
        self._host, self._options = host, options
        links: dict[str, Any] = {"link_seconds": options.signed_seconds, "link_uses": options.signed_uses}
        granted = {token: {options.hugging_face or ""} for token in options.token}
        granted |= {token: set() for token in options.token_without_access}
        self._hugging_face = HuggingFace(host, tokens=granted, **links) if options.hugging_face else None
        self._civitai = Civitai(host, tokens=frozenset(options.token), **links) if options.civitai else None
        self._versions = 0

    def add(self, file: Path) -> str:
        """The URL to ask for."""
        options, name = self._options, file.relative_to(self._options.folder).as_posix()
        behaviour = self._behaviour(name)
        if self._hugging_face:
            gated, private = options.gated, options.private
            return self._hugging_face.add(options.hugging_face, name, file, gated=gated, private=private, **behaviour)
        if self._civitai:
            self._versions += 1
            locked, early = options.locked, options.early_access
            return self._civitai.add(self._versions, file, locked=locked, early_access=early, **behaviour)
        if options.signed_seconds is not None or options.signed_uses is not None:
            seconds, uses = options.signed_seconds, options.signed_uses
            return self._host.add_signed(f"/{name}", file, seconds=seconds, uses=uses, **behaviour)
        return self._host.add_file(f"/{name}", file, **behaviour)

    def _behaviour(self, name: str) -> dict[str, Any]:
        if not fnmatch(name, self._options.only):
            return {}
        headers = dict(line.split(": ", 1) for line in self._options.header)
        faults = {field.name: getattr(self._options, field.name) for field in _faults()}
        # Options that were not given say nothing: a hub has its own default for some.
        plain = Behaviour()
        return {"headers": headers} | {key: value for key, value in faults.items() if value != getattr(plain, key)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fakes.model_host",
        description="Serves the files of a folder on 127.0.0.1, as badly as the options say, and prints each address.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="what to serve, with all its subfolders")
    parser.add_argument("--port", type=int, default=9000, help="(default: 9000)")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="the faults are only for files that match")
    _add_tls(parser.add_argument_group("TLS"))
    _add_hubs(parser.add_argument_group("signed addresses, and imitations of the hubs"))
    _add_faults(parser.add_argument_group("faults"))
    return parser


def _add_tls(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--tls", action="store_true", help="serve over TLS, with a certificate of an own authority")
    group.add_argument("--tls-fault", type=TlsFault, choices=list(TlsFault), help="what is wrong with it")
    group.add_argument("--name", action="append", help="a name that the certificate is for (may be repeated)")


def _add_hubs(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--signed-seconds", type=float, help="redirect to a signed address that is valid so long")
    group.add_argument("--signed-uses", type=int, help="redirect to a signed address that is valid so many times")
    group.add_argument("--hugging-face", metavar="OWNER/NAME", help="serve the folder as this repository")
    group.add_argument("--gated", action="store_true", help="the repository is gated")
    group.add_argument("--private", action="store_true", help="the repository is private")
    group.add_argument("--civitai", action="store_true", help="serve the files as model versions 1, 2, 3 and so on")
    group.add_argument("--locked", choices=["refused", "login"], help="what Civitai answers without a token")
    group.add_argument("--early-access", action="store_true", help="the versions are not for everybody yet")
    group.add_argument("--token", action="append", default=[], help="a token with access (may be repeated)")
    group.add_argument(
        "--token-without-access", action="append", default=[], help="a token that is known, no more (may be repeated)"
    )


def _add_faults(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--header", action="append", default=[], metavar="'NAME: VALUE'", help="a header for every answer"
    )
    for field in _faults():
        option, about = f"--{field.name.replace('_', '-')}", {"help": field.metadata["help"], "default": field.default}
        kind, choices = _kind(field.name)
        if kind is bool:
            group.add_argument(option, action=argparse.BooleanOptionalAction, **about)
            continue
        default = f" (default: {field.default})" if field.default not in (None, b"", ALWAYS) else ""
        about["help"] += " (default: all)" if field.default == ALWAYS else default
        group.add_argument(option, type=_READERS.get(kind, kind), choices=choices, metavar=_metavar(kind), **about)


def _faults() -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(Behaviour) if field.metadata]


def _kind(name: str) -> tuple[type, list[str] | None]:
    """The type of a field of Behaviour, and the values that it may have when these are few."""
    hint = typing.get_type_hints(Behaviour)[name]
    first = typing.get_args(hint)[0] if isinstance(hint, types.UnionType) or typing.get_args(hint) else hint
    if typing.get_origin(first) is typing.Literal:
        return str, list(typing.get_args(first))
    return first, None


def _whole(text: str) -> int:
    """Also as `1e6`, which is easier to read."""
    return int(float(text))


_READERS: dict[type, typing.Callable[[str], Any]] = {int: _whole, bytes: str.encode}


def _metavar(kind: type) -> str | None:
    return {int: "N", float: "X", bytes: "TEXT"}.get(kind)


if __name__ == "__main__":
    main()
