"""`make presets-check`: whether the catalogue, and files of presets that are named, are in order; and its figures.

Exits 1 with a line for each problem.
"""

import argparse
import inspect
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from services.catalogue import Catalogue, Conflict, load_shipped, read_presets
from services.presets import PresetEntry, Problem
from services.settings import APP_DIR
from services.templates import Templates, TemplateSet

CURATED = APP_DIR / "presets"
SCHEMA_FILE = CURATED / "schema.json"


class PresetsFile(Struct):
    """A file of several presets."""

    presets: tuple[PresetEntry, ...]


def schema() -> bytes:
    """The JSON schema of a file of presets, as it stands in SCHEMA_FILE."""
    alternatives, parts = msgspec.json.schema_components([PresetEntry, PresetsFile])
    for part in parts.values():
        # Python 3.13 takes the indent of a docstring away, 3.11 leaves it.
        part["description"] = inspect.cleandoc(part["description"])
    content = {"$schema": "https://json-schema.org/draft/2020-12/schema", "anyOf": alternatives, "$defs": parts}
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="presets-check", description="Checks the catalogue of presets.")
    parser.add_argument("files", metavar="FILE", nargs="*", type=Path, help="of presets, to check as a user's")
    parser.add_argument("--verbose", action="store_true", help="list the files that have several addresses")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema, and check nothing")
    chosen = parser.parse_args(arguments)
    if chosen.schema:
        sys.stdout.write(schema().decode())
        return 0
    started = time.perf_counter()
    templates = Templates().read()
    shipped = load_shipped(CURATED, templates)
    took_ms = (time.perf_counter() - started) * 1000
    catalogue = _with_files(shipped, chosen.files)
    problems = [*catalogue.problems, *_misplaced(shipped), *_contradictions(catalogue)]
    sys.stdout.writelines(f"{line}\n" for line in _figures(templates, catalogue, took_ms))
    if chosen.verbose:
        sys.stdout.writelines(f"{line}\n" for line in _listed(catalogue.conflicts))
    sys.stderr.writelines(f"{problem.source}: {problem.message}\n" for problem in problems)
    return 1 if problems else 0


def _with_files(shipped: Catalogue, files: Iterable[Path]) -> Catalogue:
    presets, problems = list(shipped), list(shipped.problems)
    for file in files:
        found, wrong = read_presets(file, "user", str(file))
        presets += found
        problems += wrong
    return Catalogue(presets, problems, shipped.passed_over)


def _misplaced(shipped: Catalogue) -> list[Problem]:
    """Curated files that do not hold what their names say."""
    return [
        Problem(file.relative_to(CURATED.parent).as_posix(), f"it must hold the preset '{file.stem}', and no other")
        for file in sorted(CURATED.glob("*/*.yaml"))
        if file.stem not in shipped.presets
    ]


def _contradictions(catalogue: Catalogue) -> list[Problem]:
    """Addresses whose bytes two presets say different things of: one of them would refuse the right file."""
    said: defaultdict[str, set[str]] = defaultdict(set)
    for preset in catalogue:
        for file in preset.files:
            said[file.url] |= {file.sha256} if file.sha256 else set()
    return [
        Problem(url, f"presets name more than one SHA-256 of it: {', '.join(sorted(digests))}")
        for url, digests in said.items()
        if len(digests) > 1
    ]


def _figures(templates: TemplateSet, catalogue: Catalogue, took_ms: float) -> list[str]:
    origins = [preset.origin for preset in catalogue]
    return [
        f"templates read       {templates.count}",
        f"presets with files   {len(templates.presets)} of them",
        f"curated presets      {origins.count('curated')}",
        f"presets of files     {origins.count('user')}",
        f"aliases              {len(catalogue.aliases)}",
        f"distinct artifacts   {len(catalogue.artifact_ids)}",
        f"conflicts resolved   {len(catalogue.conflicts)}",
        f"loaded in            {took_ms:.0f} ms",
    ]


def _listed(conflicts: Iterable[Conflict]) -> Iterable[str]:
    for conflict in sorted(conflicts, key=lambda conflict: (conflict.folder, conflict.name)):
        yield f"{conflict.folder}/{conflict.name}"
        for url, preset_ids in conflict.urls.items():
            yield f"  {url}  {', '.join(preset_ids)}"


if __name__ == "__main__":
    sys.exit(main())
