import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from services.catalogue import Catalogue, load_catalogue, load_shipped, read_presets, with_users
from services.errors import NotFound
from services.presets import Origin, Preset, Problem, parse_preset
from services.settings import APP_DIR
from services.templates import PassedOver, TemplateSet
from services.workspace import Workspace
from tests.services.preset_entries import BROKEN, entry, model

CURATED = APP_DIR / "presets"
CURATED_FILES = sorted(CURATED.glob("*/*.yaml"))
LAUGHS = "a: &a [x, x]\nb: &b [*a, *a]\npresets: *b\n"


def write_users(workspace: Workspace, *entries: Any) -> None:
    """One entry a line, the first on line 2."""
    lines = ["presets:", *(f"- {json.dumps(one)}" for one in entries), ""]
    workspace.user_presets_file.write_text("\n".join(lines), encoding="utf-8")


def users(workspace: Workspace) -> Catalogue:
    """Theirs alone."""
    return with_users(Catalogue(), workspace)


def curated() -> Catalogue:
    """Those alone."""
    return load_shipped(CURATED, TemplateSet())


def preset(id_: str, *urls: str, origin: Origin = "official", **changes: Any) -> Preset:
    """Its files are named like the last part of their addresses."""
    files = [model(url=url, name=url.rsplit("/", 1)[-1], size_bytes=None, sha256=None) for url in urls]
    return parse_preset(entry(id=id_, files=files or [model()], **changes), origin)


@pytest.mark.parametrize("file", CURATED_FILES, ids=lambda file: str(file.stem))
def test_a_curated_preset_is_found_under_its_file_name(file: Path) -> None:
    found = curated().get(file.stem)
    assert (found.kind, found.origin) == (file.parent.name, "curated")


def test_the_three_sources_have_no_problems_and_are_told_apart(workspace: Workspace) -> None:
    write_users(workspace, entry())
    catalogue = load_catalogue(CURATED, workspace)
    assert catalogue.problems == ()
    assert {found.origin for found in catalogue} == {"official", "curated", "user"}
    assert "WAN_22_5B_TIV2" in catalogue.presets


def test_every_file_comes_over_tls(workspace: Workspace) -> None:
    for found in load_catalogue(CURATED, workspace):
        for file in found.files:
            assert file.url.startswith("https://"), f"{found.id}: {file.name}"


def test_a_users_preset_takes_the_place_of_a_curated_one(workspace: Workspace) -> None:
    write_users(workspace, entry(id="SD15", name="Mine"))
    catalogue = with_users(curated(), workspace)
    assert (catalogue.get("SD15").name, catalogue.get("SD15").origin) == ("Mine", "user")
    assert len(catalogue) == len(CURATED_FILES)


def test_a_curated_preset_takes_the_place_of_an_official_one() -> None:
    catalogue = load_shipped(CURATED, TemplateSet((preset("SD15"), preset("other"))))
    assert catalogue.get("SD15").origin == "curated"
    assert len(catalogue) == len(CURATED_FILES) + 1


def test_a_users_preset_stands_beside_the_curated_ones(workspace: Workspace) -> None:
    write_users(workspace, entry())
    assert len(with_users(curated(), workspace)) == len(CURATED_FILES) + 1


def test_without_a_users_file_there_is_nothing_to_say(workspace: Workspace) -> None:
    assert users(workspace).problems == ()


@pytest.mark.parametrize(("broken", "field"), BROKEN.values(), ids=BROKEN)
def test_a_broken_preset_is_one_problem_with_line_and_field_and_the_others_survive(
    broken: dict[str, Any], field: str, workspace: Workspace
) -> None:
    write_users(workspace, entry(id="BEFORE"), broken, entry(id="AFTER"))
    catalogue = users(workspace)
    assert set(catalogue.presets) == {"BEFORE", "AFTER"}
    (problem,) = catalogue.problems
    assert problem.source == f"{workspace.user_presets_file}, line 3"
    assert problem.message.startswith(f"preset 'TINY': {field}: ")


def test_the_line_is_that_of_the_field(workspace: Workspace) -> None:
    text = """\
presets:
  - id: A
    name: A
    kind: image
    description: ""
    files:
      - folder: loras
        name: a.pt
        url: https://example.com/a.pt
      - folder: loras
        name: b.pt
        url: ftp://example.com/b.pt
"""
    workspace.user_presets_file.write_text(text)
    assert users(workspace).problems == (
        Problem(
            f"{workspace.user_presets_file}, line 12",
            "preset 'A': files[1].url: 'ftp://example.com/b.pt' is not an http address",
        ),
    )


def test_the_line_of_a_missing_field_is_that_of_its_preset(workspace: Workspace) -> None:
    workspace.user_presets_file.write_text("# mine\npresets:\n\n  - name: A\n    kind: image\n")
    (problem,) = users(workspace).problems
    assert problem == Problem(f"{workspace.user_presets_file}, line 4", "id: is missing")


@pytest.mark.parametrize("broken", [None, "text", 1, [], {}, {"id": 1}])
def test_an_entry_that_is_no_preset_at_all_is_told_by_its_line(broken: object, workspace: Workspace) -> None:
    write_users(workspace, entry(id="BEFORE"), broken)
    catalogue = users(workspace)
    assert set(catalogue.presets) == {"BEFORE"}
    assert [problem.source for problem in catalogue.problems] == [f"{workspace.user_presets_file}, line 3"]


NO_FILES_OF_PRESETS = {
    "a number for the list": (b"# mine\npresets: 1\n", 2, "a list named 'presets'"),
    "a list of nothing named": (b"[]\n", 1, "a list named 'presets'"),
    "text": (b"text\n", 1, "a list named 'presets'"),
    "nothing": (b"", 1, "a list named 'presets'"),
    "a bracket left open": (b"presets: [\n", 2, ""),
    "indented wrongly": (b"presets:\n  - id: a\n  id: b\n", 3, ""),
    "an alias bomb": (LAUGHS.encode(), 2, "aliases are not allowed"),
    "a tag": (b"presets:\n- {id: A, tags: [!!bool maybe]}\n", 2, "tags are not allowed"),
    "a key twice": (b"presets: []\npresets: []\n", 2, "duplicate key"),
    "not UTF-8": (b"presets:\n- id: \xff\n", 2, "not UTF-8"),
}


@pytest.mark.parametrize(("data", "line", "reason"), NO_FILES_OF_PRESETS.values(), ids=NO_FILES_OF_PRESETS)
def test_a_users_file_that_is_none_is_one_problem_with_its_line(
    data: bytes, line: int, reason: str, workspace: Workspace
) -> None:
    workspace.user_presets_file.write_bytes(data)
    catalogue = with_users(curated(), workspace)
    assert len(catalogue) == len(CURATED_FILES)
    (problem,) = catalogue.problems
    assert problem.source == f"{workspace.user_presets_file}, line {line}"
    assert reason in problem.message
    assert str(workspace.user_presets_file) not in problem.message


def make_large(path: Path) -> None:
    path.write_bytes(b"presets: []\n" + b"# a comment\n" * (50 * 1024 * 1024 // 12))


def make_unreadable(path: Path) -> None:
    # Root may read everything else; nobody may read this at its start.
    path.symlink_to("/proc/self/mem")


UNREADABLE = {
    "50 MB": (make_large, "larger than 1048576 bytes"),
    "a folder": (Path.mkdir, "it is not a file"),
    "a pipe": (os.mkfifo, "it is not a file"),
    "a link that leads nowhere": (lambda path: path.symlink_to("nowhere"), os.strerror(errno.ENOENT)),
    "a link to itself": (lambda path: path.symlink_to(path), os.strerror(errno.ELOOP)),
    "a file that gives an error": (make_unreadable, os.strerror(errno.EIO)),
}


@pytest.mark.parametrize(("make", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_users_file_that_cannot_be_read_is_one_problem(make: Any, reason: str, workspace: Workspace) -> None:
    make(workspace.user_presets_file)
    catalogue = with_users(curated(), workspace)
    assert len(catalogue) == len(CURATED_FILES)
    (problem,) = catalogue.problems
    assert problem.source == str(workspace.user_presets_file)
    assert reason in problem.message
    assert str(workspace.user_presets_file) not in problem.message


def test_a_broken_curated_file_is_named_and_the_others_survive(tmp_path: Path) -> None:
    folder = tmp_path / "presets"
    (folder / "image").mkdir(parents=True)
    (folder / "image" / "GOOD.yaml").write_text(json.dumps(entry(id="GOOD")))
    (folder / "image" / "BAD.yaml").write_text("id: [")
    catalogue = load_shipped(folder, TemplateSet())
    assert set(catalogue.presets) == {"GOOD"}
    assert [problem.source for problem in catalogue.problems] == ["presets/image/BAD.yaml, line 1"]


def test_an_id_that_stands_in_the_users_file_twice_is_a_problem_where_it_stands_again(workspace: Workspace) -> None:
    write_users(workspace, entry(name="first"), entry(name="second"))
    catalogue = users(workspace)
    assert catalogue.get("TINY").name == "first"
    (problem,) = catalogue.problems
    assert problem.source == f"{workspace.user_presets_file}, line 3"
    assert problem.message == "preset 'TINY': id: stands in this file already"


def test_a_file_may_hold_one_preset_alone(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(json.dumps(entry()))
    presets, problems = read_presets(tmp_path / "one.yaml", "user", "one.yaml")
    assert ([found.id for found in presets], problems) == (["TINY"], [])


@pytest.mark.parametrize("field", ["origin", "usage", "open_source", "tutorial", "estimated_bytes"])
def test_what_only_the_official_index_knows_is_no_field_of_a_users_preset(field: str, workspace: Workspace) -> None:
    write_users(workspace, entry(**{field: None}))
    (problem,) = users(workspace).problems
    assert problem.message == f"preset 'TINY': {field}: is not a field that a preset has"


def test_an_alias_leads_to_its_preset() -> None:
    catalogue = Catalogue([preset("A", aliases=["OLD"])])
    assert catalogue.get("OLD").id == "A"
    assert catalogue.aliases == {"OLD": "A"}


def test_an_id_wins_over_an_alias_and_a_problem_tells() -> None:
    catalogue = Catalogue([preset("A", aliases=["B"]), preset("B")])
    assert catalogue.get("B").id == "B"
    assert catalogue.problems == (Problem("preset 'A'", "its alias 'B' is an id"),)


def test_a_users_alias_wins_over_the_same_one_of_a_curated_preset_and_a_problem_tells() -> None:
    catalogue = Catalogue([preset("A", aliases=["OLD"], origin="curated"), preset("B", aliases=["OLD"], origin="user")])
    assert catalogue.get("OLD").id == "B"
    assert catalogue.problems == (Problem("preset 'A'", "its alias 'OLD' stands for 'B' already"),)


def test_a_clash_of_aliases_is_told_once_when_the_users_presets_come_in(workspace: Workspace) -> None:
    write_users(workspace, entry())
    catalogue = with_users(Catalogue([preset("A", aliases=["B"]), preset("B")]), workspace)
    assert [problem.source for problem in catalogue.problems] == ["preset 'A'"]


def test_an_alias_of_a_preset_that_was_replaced_leads_nowhere() -> None:
    catalogue = Catalogue([preset("A", aliases=["OLD"]), preset("A", origin="user")])
    with pytest.raises(NotFound):
        catalogue.get("OLD")


def test_the_catalogue_knows_who_brings_a_file() -> None:
    one, two = preset("A", "https://example.com/a.pt"), preset("B", "https://example.com/b.pt")
    catalogue = Catalogue([one, two])
    assert [found.id for found in catalogue.presets_with(two.files[0].id)] == ["B"]
    assert [found.id for found in catalogue.presets_with_file_name("sub/b.pt")] == ["B"]
    assert catalogue.presets_with("unknown") == catalogue.presets_with_file_name("unknown") == ()


def test_each_preset_keeps_the_address_it_names_and_the_conflict_shows_who_names_which() -> None:
    shared, own = "https://example.com/shared/a.pt", "https://example.com/own/a.pt"
    catalogue = Catalogue([preset("A", own), preset("B", shared), preset("C", shared), preset("D")])
    (conflict,) = catalogue.conflicts
    assert catalogue.get("A").files[0].url == own
    assert list(conflict.urls.items()) == [(shared, ("B", "C")), (own, ("A",))]


def test_the_addresses_of_a_conflict_are_no_mirrors() -> None:
    catalogue = Catalogue([preset("A", "https://example.com/1/a.pt"), preset("B", "https://example.com/2/a.pt")])
    assert [file.mirrors for found in catalogue for file in found.files] == [(), ()]


def test_an_address_that_was_passed_over_is_shown_while_its_preset_is_there() -> None:
    kept, other = preset("A", "https://example.com/1/a.pt"), preset("A", "https://example.com/2/a.pt")
    passed_over = [PassedOver("A", other.files[0])]
    (conflict,) = Catalogue([kept], (), passed_over).conflicts
    assert list(conflict.urls) == [kept.files[0].url, other.files[0].url]
    replaced = preset("A", "https://example.com/1/a.pt", origin="user")
    assert Catalogue([kept, replaced], (), passed_over).conflicts == ()


def test_an_official_file_has_the_size_and_digest_that_are_curated_for_its_address() -> None:
    known = curated().get("SD15").files[0]
    official = parse_preset(entry(files=[model(url=known.url, size_bytes=None, sha256=None)]), "official")
    found = load_shipped(CURATED, TemplateSet((official,))).get("TINY").files[0]
    assert (found.size_bytes, found.sha256) == (known.size_bytes, known.sha256)


def test_an_official_file_at_another_address_stays_without_size() -> None:
    known = curated().get("SD15").files[0]
    official = parse_preset(entry(files=[model(url=f"{known.url}.pt", size_bytes=None, sha256=None)]), "official")
    found = load_shipped(CURATED, TemplateSet((official,))).get("TINY").files[0]
    assert (found.size_bytes, found.sha256) == (None, None)


def test_an_unknown_preset_is_not_found() -> None:
    with pytest.raises(NotFound, match="NOPE"):
        Catalogue().get("NOPE")


def test_sizes_that_hosts_told_are_filled_in_where_none_is_named() -> None:
    told = preset("TOLD", "https://h.example/a.safetensors")
    own = parse_preset(entry(id="OWN", files=[model(url="https://h.example/b.safetensors", size_bytes=5)]))
    sized = Catalogue([told, own]).sized({file.url: 7 for file in (*told.files, *own.files)})
    assert [preset.files[0].size_bytes for preset in sized] == [7, 5]


def test_a_catalogue_that_learns_no_size_is_the_same_one() -> None:
    known = Catalogue([preset("A", "https://h.example/a.safetensors")])
    assert known.sized({"https://h.example/other": 7}) is known
