import json
from pathlib import Path

import pytest

from services.catalogue import Catalogue, load_shipped
from tests.services.preset_entries import entry, model
from tools.presets_check import CURATED, SCHEMA_FILE, main, schema


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return load_shipped(CURATED)


def figures(output: str) -> dict[str, str]:
    """What each line says of what it names."""
    return {line[:20].strip(): line[20:].strip() for line in output.splitlines() if not line.startswith(" ")}


def test_what_is_shipped_is_in_order_and_counted(shipped: Catalogue, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr()
    found = figures(printed.out)
    assert int(found["templates read"]) >= int(found["presets with files"].split()[0]) > 0
    assert int(found["curated presets"]) == len(list(CURATED.glob("*/*.yaml")))
    assert int(found["distinct artifacts"]) == len({file.id for preset in shipped for file in preset.files})
    assert int(found["conflicts resolved"]) == len(shipped.conflicts)
    assert found["loaded in"].endswith(" ms")
    assert printed.err == ""


def test_conflicts_are_listed_with_who_names_what(shipped: Catalogue, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--verbose"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for conflict in shipped.conflicts:
        place = lines.index(f"{conflict.folder}/{conflict.name}")
        for number, (url, preset_ids) in enumerate(conflict.urls.items(), start=1):
            assert lines[place + number].split() == [url, *", ".join(preset_ids).split()]


def test_a_file_in_order_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text(json.dumps({"presets": [entry(aliases=["SMALL"]), entry(id="B")]}))
    assert main([str(tmp_path / "mine.yaml")]) == 0
    found = figures(capsys.readouterr().out)
    assert (found["presets of files"], found["aliases"]) == ("2", "1")


def test_each_problem_of_a_file_is_one_line_and_the_exit_status_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"presets:\n- {json.dumps(entry(kind='x'))}\n- {json.dumps(entry(files=[model(url='no')]))}\n")
    assert main([str(mine), str(tmp_path / "none.yaml")]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{mine}, line 2: preset 'TINY': kind: Invalid enum value 'x'",
        f"{mine}, line 3: preset 'TINY': files[0].url: 'no' is not an http address",
        f"{tmp_path / 'none.yaml'}: it cannot be read: No such file or directory",
    ]


def test_another_digest_of_a_known_address_is_a_problem(
    shipped: Catalogue, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = shipped.get("SD15").files[0]
    (tmp_path / "mine.yaml").write_text(json.dumps(entry(files=[model(url=known.url, sha256="0" * 64)])))
    assert main([str(tmp_path / "mine.yaml")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"{known.url}: presets name more than one SHA-256 of it: {'0' * 64}, {known.sha256}"


def test_the_schema_is_that_of_the_types() -> None:
    assert SCHEMA_FILE.read_bytes() == schema(), "python -m tools.presets_check --schema > presets/schema.json"


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--schema"]) == 0
    assert capsys.readouterr().out.encode() == schema()


@pytest.mark.parametrize("file", sorted(CURATED.glob("*/*.yaml")), ids=lambda file: str(file.stem))
def test_a_curated_file_names_its_schema(file: Path) -> None:
    named = file.read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (file.parent / named).resolve() == SCHEMA_FILE
