"""The custom node packs of the image, by custom-nodes.toml: checks it, fetches the packs, prints what they require.

    python3 image/nodes.py check
    python3 image/nodes.py clone --variant standard --into FOLDER
    python3 image/nodes.py requirements --variant standard     the packages they ask for, one of each kind
    python3 image/nodes.py excludes                            what uv must leave out, whoever asks for it
    python3 image/nodes.py loaded < OUTPUT                     whether ComfyUI loaded all packs, from what it said

The Dockerfile runs it by itself, with git and the standard library.

NodesError           one sentence for each thing that is wrong
├── BadList          custom-nodes.toml
├── BadPack          a repository that is out of reach, or is not what custom-nodes.toml says
└── NotLoaded        a pack that ComfyUI could not load
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path, PurePosixPath

LIST = Path(__file__).with_name("custom-nodes.toml")
VARIANTS = ("standard", "full")
LICENCES = {"AGPL-3.0-only", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "GPL-3.0-only", "GPL-3.0-or-later", "MIT"}
REPOSITORY = re.compile(r"https://github\.com/[A-Za-z0-9-]+/[A-Za-z0-9._-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
# What ComfyUI prints at the end of its start.
FAILED = re.compile(r"seconds \(IMPORT FAILED\): (.+)")
REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^]]*\])?\s*((?:[<>=!~][^;#@]*)?)\s*(?:;.*)?")
TIMEOUT_SECONDS = 300
STALL_SECONDS = 30
ATTEMPTS = 2


class NodesError(Exception):
    """Lines, each a sentence."""


class BadList(NodesError):
    """custom-nodes.toml says something that cannot be."""


class BadPack(NodesError):
    """A repository that is out of reach, or is not what custom-nodes.toml says."""


class NotLoaded(NodesError):
    """A pack that ComfyUI could not load."""


@dataclass(frozen=True)
class Source:
    """One commit of one repository."""

    repository: str
    commit: str
    licence: str


@dataclass(frozen=True)
class Submodule(Source):
    path: str


@dataclass(frozen=True)
class Pack(Source):
    """`without` and `omit`: what is left out of the requirements and of the files, each with its reason.

    A pack that `needs_gpu` cannot even be loaded without one.
    """

    name: str
    date: date
    variant: str
    reason: str
    requirements_file: str = ""
    requirements: tuple[str, ...] = ()
    without: Mapping[str, str] = field(default_factory=dict)
    omit: Mapping[str, str] = field(default_factory=dict)
    submodules: tuple[Submodule, ...] = ()
    needs_gpu: bool = False


@dataclass(frozen=True)
class Instead:
    """`taken` installs the modules of every package of `asked`."""

    asked: tuple[str, ...]
    taken: str
    reason: str


@dataclass(frozen=True)
class NodeList:
    packs: tuple[Pack, ...]
    instead: tuple[Instead, ...]

    def of(self, variant: str) -> list[Pack]:
        """What `variant` adds: the image's `full` is built on `standard`."""
        return [pack for pack in self.packs if pack.variant == variant]


# ---- the list


def load(file: Path = LIST) -> NodeList:
    """Raises BadList with a line for each mistake."""
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
        packs = tuple(_pack(table) for table in data.pop("pack", []))
        instead = tuple(
            Instead(tuple(table.pop("asked")), **{key: str(value) for key, value in table.items()})
            for table in data.pop("instead", [])
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise BadList(f"{file.name} cannot be read: {error}") from error
    nodes = NodeList(packs, instead)
    mistakes = [f"unknown table '{name}'" for name in data] + list(_mistakes(nodes))
    if mistakes:
        raise BadList("\n".join(f"{file.name}: {mistake}" for mistake in mistakes))
    return nodes


def _pack(table: dict[str, object]) -> Pack:
    values = dict(table)
    submodules = values.pop("submodule", [])
    requirements = values.pop("requirements", [])
    if not isinstance(submodules, list) or not isinstance(requirements, list):
        raise TypeError(f"{values.get('name')}: 'submodule' and 'requirements' are lists")
    return Pack(
        **values,  # type: ignore[arg-type]  # a wrong name is a TypeError; _mistakes looks at the values
        requirements=tuple(map(str, requirements)),
        submodules=tuple(Submodule(**submodule) for submodule in submodules),
    )


def _mistakes(nodes: NodeList) -> Iterator[str]:
    names = [pack.name.lower() for pack in nodes.packs]
    yield from (f"pack '{name}' is there twice" for name in sorted({name for name in names if names.count(name) > 1}))
    for pack in nodes.packs:
        yield from (f"pack '{pack.name}': {mistake}" for mistake in _mistakes_of(pack))
    for instead in nodes.instead:
        if not instead.asked or not instead.taken or not instead.reason:
            yield f"instead of {', '.join(instead.asked)}: 'asked', 'taken' and 'reason' must be filled in"


def _mistakes_of(pack: Pack) -> Iterator[str]:
    if not NAME.fullmatch(pack.name):
        yield "the name must be a folder's"
    if pack.variant not in VARIANTS:
        yield f"the variant is one of {', '.join(VARIANTS)}, not '{pack.variant}'"
    day: object = pack.date  # whatever stands in the file
    if not isinstance(day, date):
        yield f"'{day}' is no date"
    if not pack.reason.endswith("."):
        yield "the reason must be a sentence"
    for source in (pack, *pack.submodules):
        yield from _mistakes_of_source(source)
    for path in (*pack.omit, *(submodule.path for submodule in pack.submodules), pack.requirements_file):
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            yield f"'{path}' leads out of the pack"
    for requirement in pack.requirements:
        if not REQUIREMENT.fullmatch(requirement):
            yield f"'{requirement}' is no requirement of the form NAME>=VERSION"
    if (pack.requirements or pack.without) and not pack.requirements_file:
        yield "requirements come from a 'requirements_file'"
    for what, reason in (*pack.without.items(), *pack.omit.items()):
        if not reason:
            yield f"why is '{what}' left out?"


def _mistakes_of_source(source: Source) -> Iterator[str]:
    if not REPOSITORY.fullmatch(source.repository):
        yield f"'{source.repository}' is no https://github.com/OWNER/NAME"
    if not COMMIT.fullmatch(source.commit):
        yield f"'{source.commit}' is no commit of 40 hexadecimal digits"
    for licence in source.licence.split(" AND "):
        if licence not in LICENCES:
            yield f"'{licence}' is no open licence that is known here"


# ---- what the packs require


def requirements(nodes: NodeList, variant: str) -> list[str]:
    """The union of what `variant` adds, sorted; of packages that exclude one another, the one that was chosen."""
    taken = {_canonical(asked): instead.taken for instead in nodes.instead for asked in instead.asked}
    lines = (line for pack in nodes.of(variant) for line in pack.requirements)
    return sorted({taken.get(_name_of(line), re.sub(r"\s+", "", line.lower())) for line in lines})


def excludes(nodes: NodeList) -> list[str]:
    """For `uv pip compile --excludes`: a package that a requirement brings is replaced like one that a pack names."""
    return sorted({_canonical(asked) for instead in nodes.instead for asked in instead.asked})


def _name_of(requirement: str) -> str:
    found = REQUIREMENT.fullmatch(requirement.strip())
    return _canonical(found[1] if found else requirement)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _unanswered(pack: Pack, folder: Path) -> list[str]:
    """What the pack's own file asks for and the list neither takes nor leaves out."""
    if not pack.requirements_file:
        return ["a file of their own"] if (folder / "requirements.txt").exists() else []
    lines = (folder / pack.requirements_file).read_text(encoding="utf-8-sig").splitlines()
    asked = {_name_of(line) for text in lines if (line := text.partition("#")[0].strip())}
    answered = {_name_of(line) for line in pack.requirements} | {_canonical(name) for name in pack.without}
    return sorted(asked - answered)


# ---- the packs


def clone(nodes: NodeList, variant: str, into: Path, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
    """Each pack of `variant` as `into`/<name>, and `into`/custom-nodes-<variant>.json that says what is there.

    Raises BadPack, with a line for each pack that failed.
    """
    into.mkdir(parents=True, exist_ok=True)
    failed = []
    packs = nodes.of(variant)
    for pack in packs:
        try:
            clone_pack(pack, into / pack.name, timeout_seconds)
        except BadPack as error:
            failed.append(str(error))
    if failed:
        raise BadPack("\n".join(failed))
    held = [
        {"name": pack.name, "repository": pack.repository, "commit": pack.commit, "licence": pack.licence}
        for pack in packs
    ]
    (into / f"custom-nodes-{variant}.json").write_text(json.dumps(held, indent=2) + "\n", encoding="utf-8")


def clone_pack(pack: Pack, folder: Path, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
    """Exactly the files of the pinned commits, without git's own and without `omit`. Raises BadPack."""
    if folder.exists():
        raise BadPack(f"{pack.name}: {folder} is there already; give an empty folder")
    try:
        _check_out(pack, folder, timeout_seconds)
    except FileNotFoundError as error:
        raise BadPack(f"{pack.name}: there is no git; install it") from error
    except subprocess.CalledProcessError as error:
        raise BadPack(f"{pack.name}: {_why(error)}") from error
    for path in pack.omit:
        _remove(pack, folder / path)
    for git_folder in list(folder.rglob(".git")):
        shutil.rmtree(git_folder)
    if names := _unanswered(pack, folder):
        raise BadPack(f"{pack.name}: its requirements have {', '.join(names)}, of which custom-nodes.toml says nothing")


def _check_out(pack: Pack, folder: Path, timeout_seconds: float) -> None:
    _fetch(pack.name, pack, folder, timeout_seconds)
    for submodule in pack.submodules:
        entry = _git(folder, "ls-tree", "HEAD", "--", submodule.path)
        if entry.split()[1:3] != ["commit", submodule.commit]:
            raise BadPack(f"{pack.name}: {submodule.path} is not pinned to {submodule.commit} by the commit itself")
        _fetch(f"{pack.name}/{submodule.path}", submodule, folder / submodule.path, timeout_seconds)


def _fetch(name: str, source: Source, folder: Path, timeout_seconds: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _git(folder, "init", "--quiet")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _git(folder, "fetch", "--quiet", "--depth=1", source.repository, source.commit, timeout=timeout_seconds)
            break
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            if attempt == ATTEMPTS:
                raise BadPack(f"{name}: {source.commit} of {source.repository} did not come: {_why(error)}") from error
    _git(folder, "checkout", "--quiet", "--detach", "FETCH_HEAD")
    if (got := _git(folder, "rev-parse", "HEAD").strip()) != source.commit:
        raise BadPack(f"{name}: asked for {source.commit} and got {got}")


def _git(folder: Path, *arguments: str, timeout: float | None = None) -> str:
    """Nobody is there to type a password, and nothing but the arguments decides what git does."""
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C"}
    stalled = ("-c", "http.lowSpeedLimit=1000", "-c", f"http.lowSpeedTime={STALL_SECONDS}")
    return subprocess.run(
        ["git", *stalled, "-C", str(folder), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=timeout,
    ).stdout


def _why(error: subprocess.CalledProcessError | subprocess.TimeoutExpired) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"nothing for {error.timeout:.0f} s"
    said: Sequence[str] = str(error.stderr).strip().splitlines()
    return said[-1].removeprefix("fatal: ") if said else f"git ended with {error.returncode}"


def _remove(pack: Pack, path: Path) -> None:
    if not path.exists():
        raise BadPack(f"{pack.name}: there is no {path.name} to omit")
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def check_loaded(nodes: NodeList, output: str) -> None:
    """`output` is what ComfyUI said on a start without a GPU. Raises NotLoaded."""
    excused = {pack.name for pack in nodes.packs if pack.needs_gpu}
    failed = [name for path in FAILED.findall(output) if (name := Path(path.strip()).name) not in excused]
    if failed:
        raise NotLoaded("\n".join(f"{name}: ComfyUI could not load it; its output says why" for name in failed))


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="nodes.py")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("check", "excludes", "loaded"):
        commands.add_parser(name)
    for name in ("clone", "requirements"):
        command = commands.add_parser(name)
        command.add_argument("--variant", choices=VARIANTS, required=True)
    commands.choices["clone"].add_argument("--into", type=Path, required=True)
    given = parser.parse_args(None if arguments is None else list(arguments))
    try:
        nodes = load()
        if given.command == "clone":
            clone(nodes, given.variant, given.into)
        elif given.command == "requirements":
            print("\n".join(requirements(nodes, given.variant)))
        elif given.command == "excludes":
            print("\n".join(excludes(nodes)))
        elif given.command == "loaded":
            check_loaded(nodes, sys.stdin.read())
    except NodesError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
