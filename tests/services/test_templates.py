import json
from collections import defaultdict
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from services.artifacts import model_id
from services.catalogue import Catalogue
from services.errors import NotFound
from services.templates import Templates, TemplateSet

PACKAGE = Path(str(resources.files("comfyui_workflow_templates_json"))) / "templates"
INDEX: list[dict[str, Any]] = json.loads((PACKAGE / "index.json").read_bytes())
LISTED: list[dict[str, Any]] = [template for category in INDEX for template in category["templates"]]
URL, OTHER = "https://example.com/one/a.safetensors", "https://example.com/two/a.safetensors"


def named_in(value: Any) -> Iterator[dict[str, str]]:
    """What is named in `properties.models`, wherever it stands: told by its shape, whatever is around it."""
    if isinstance(value, dict):
        if {"name", "url", "directory"} <= value.keys():
            yield value
        for part in value.values():
            yield from named_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from named_in(part)


@pytest.fixture(scope="module")
def walked() -> dict[str, list[dict[str, str]]]:
    """Every file that each template of the package names, found in another way."""
    return {
        template["name"]: list(named_in(json.loads((PACKAGE / f"{template['name']}.json").read_bytes())))
        for template in LISTED
    }


@pytest.fixture(scope="module")
def official() -> TemplateSet:
    return Templates().read()


def without_question(url: str) -> str:
    return url.partition("?download=true")[0]


def test_every_template_of_the_package_is_read_without_a_problem(official: TemplateSet) -> None:
    assert official.problems == ()
    assert official.count == len(LISTED) > 600


def test_all_templates_are_listed_what_is_used_most_first() -> None:
    found = Templates().summaries()
    assert {one.name: (one.title, one.description) for one in found} == {
        template["name"]: (template["title"], template.get("description", "")) for template in LISTED
    }
    assert [one.usage or 0 for one in found] == sorted(
        (template.get("usage") or 0 for template in LISTED), reverse=True
    )
    assert {"image", "video", "audio", "3d"} <= {one.kind for one in found}


def test_each_template_that_names_files_is_a_preset(
    official: TemplateSet, walked: dict[str, list[dict[str, str]]]
) -> None:
    assert {preset.id for preset in official.presets} == {name for name, files in walked.items() if files}


def test_a_preset_has_every_file_that_its_template_names_and_no_other(
    official: TemplateSet, walked: dict[str, list[dict[str, str]]]
) -> None:
    for preset in official.presets:
        wanted = {(file["directory"], file["name"], without_question(file["url"])) for file in walked[preset.id]}
        passed_over = [other.file for other in official.passed_over if other.preset_id == preset.id]
        assert {(file.folder, file.name, file.url) for file in (*preset.files, *passed_over)} == wanted, preset.id


def test_the_conflicts_are_the_files_with_more_than_one_address(
    official: TemplateSet, walked: dict[str, list[dict[str, str]]]
) -> None:
    urls: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name, files in walked.items():
        for file in files:
            urls[model_id(file["directory"], file["name"])][without_question(file["url"])].add(name)
    catalogue = Catalogue(official.presets, (), official.passed_over)
    found = {conflict.artifact_id: conflict.urls for conflict in catalogue.conflicts}
    assert found.keys() == {id_ for id_, named in urls.items() if len(named) > 1}
    for id_, named in found.items():
        assert {url: set(ids) for url, ids in named.items()} == urls[id_]


def test_a_digest_of_the_package_is_known_of_every_file_at_its_address(
    official: TemplateSet, walked: dict[str, list[dict[str, str]]]
) -> None:
    digests = {
        without_question(file["url"]): file["hash"].lower()
        for files in walked.values()
        for file in files
        if file.get("hash_type") == "SHA256"
    }
    assert digests
    for preset in official.presets:
        for file in preset.files:
            assert file.sha256 == digests.get(file.url), file


def test_every_template_of_the_index_has_a_workflow_that_is_read_by_its_name() -> None:
    templates = Templates()
    for template in LISTED[::40]:
        assert "nodes" in json.loads(templates.graph(template["name"]))


@pytest.mark.parametrize(
    "name", ["", "index", "index_logo", "fuse_options", "../templates/index", "nope", "/etc/passwd"]
)
def test_what_is_no_template_has_no_workflow(name: str) -> None:
    with pytest.raises(NotFound):
        Templates().graph(name)


def test_the_index_gives_a_preset_its_words_and_figures(official: TemplateSet) -> None:
    listed = next(one for one in LISTED if one["name"] == "video_wan2_2_5B_ti2v")
    preset = next(preset for preset in official.presets if preset.id == "video_wan2_2_5B_ti2v")
    assert (preset.name, preset.description, preset.tags) == (
        listed["title"],
        listed["description"],
        tuple(listed["tags"]),
    )
    assert (preset.kind, preset.origin, preset.workflow, preset.aliases) == ("video", "official", None, ())
    assert (preset.usage, preset.estimated_bytes) == (listed["usage"], listed["size"])
    assert preset.min_comfyui_version == listed["minComfyUIVersion"]
    assert (preset.open_source, preset.tutorial) == (listed.get("openSource"), listed.get("tutorialUrl"))


# From here on, templates that are made for the test.


def model(url: str = URL, **changes: Any) -> dict[str, Any]:
    return {"name": "a.safetensors", "url": url, "directory": "loras", **changes}


def node(*models: Any) -> dict[str, Any]:
    return {"type": "LoraLoader", "properties": {"models": list(models)}}


def workflow(*models: Any) -> dict[str, Any]:
    return {"nodes": [node(*models)]}


def write(folder: Path, workflows: dict[str, Any], type_: str = "image", **changes: Any) -> Templates:
    """Templates of one category; `changes` are of every line of the index."""
    lines = [{"name": name, "title": name.title(), **changes} for name in workflows]
    (folder / "index.json").write_text(json.dumps([{"type": type_, "templates": lines}]))
    for name, content in workflows.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{name}.json").write_text(text)
    return Templates(folder)


def inside_subgraph(*models: Any) -> dict[str, Any]:
    return {"nodes": [], "definitions": {"subgraphs": [workflow(*models)]}}


DEPTHS = {
    "a node": workflow(model()),
    "a subgraph": inside_subgraph(model()),
    "a subgraph in a subgraph": {"nodes": [], "definitions": {"subgraphs": [inside_subgraph(model())]}},
    "a group node": {"nodes": [], "extra": {"groupNodes": {"group": workflow(model())}}},
}


@pytest.mark.parametrize("content", DEPTHS.values(), ids=DEPTHS)
def test_a_file_is_found_at_any_depth(content: dict[str, Any], tmp_path: Path) -> None:
    (preset,) = write(tmp_path, {"a": content}).read().presets
    assert [(file.folder, file.name, file.url) for file in preset.files] == [("loras", "a.safetensors", URL)]


def test_a_template_without_files_is_counted_and_no_preset(tmp_path: Path) -> None:
    found = write(tmp_path, {"a": workflow(), "b": workflow(model())}).read()
    assert (found.count, [preset.id for preset in found.presets]) == (2, ["b"])


BROKEN = {
    "no JSON": '{"models"',
    "a list": ["models"],
    "nodes that are none": {"nodes": "models"},
    "a node that is none": {"nodes": ["models"]},
    "nested without end": '{"models": ' + "[" * 100_000,
    "half a character": '{"nodes": [{"properties": {"models": [{"name": "\\ud800"}]}}]}',
    "files that are no list": {"nodes": [{"properties": {"models": {"name": "a"}}}]},
    "a file that is text": workflow("a.safetensors"),
    "a file without an address": workflow({"name": "a.safetensors", "directory": "loras"}),
    "a file with a number for a name": workflow(model(name=1)),
    "a file that leads out of its folder": workflow(model(name="../../config/a.safetensors")),
    "a folder that leads out of the models": workflow(model(directory="../config")),
    "a folder's old name": workflow(model(directory="unet")),
    "a file that is no model": workflow(model(name="run.py")),
    "an address of a file": workflow(model("file:///etc/passwd")),
    "a page for an address": workflow(model("https://huggingface.co/a/b/blob/main/a.safetensors")),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_template_is_one_problem_and_the_others_survive(broken: Any, tmp_path: Path) -> None:
    found = write(tmp_path, {"before": workflow(model()), "broken": broken, "after": workflow(model())}).read()
    assert [preset.id for preset in found.presets] == ["before", "after"]
    assert [problem.source for problem in found.problems] == ["comfyui-workflow-templates-json, broken"]


def test_a_broken_entry_leaves_the_other_files_of_its_template(tmp_path: Path) -> None:
    found = write(tmp_path, {"a": workflow(model(), "text", model(name="b.py"))}).read()
    assert [file.name for file in found.presets[0].files] == ["a.safetensors"]
    assert len(found.problems) == 2


def test_each_template_that_names_a_file_that_does_not_fit_is_told(tmp_path: Path) -> None:
    bad = workflow(model(), model(name="b.py"))
    found = write(tmp_path, {"a": bad, "b": bad}).read()
    assert [problem.source.rpartition(" ")[2] for problem in found.problems] == ["a", "b"]


def test_a_template_without_its_file_is_a_problem(tmp_path: Path) -> None:
    templates = write(tmp_path, {"a": workflow(model()), "b": workflow(model())})
    (tmp_path / "a.json").unlink()
    found = templates.read()
    assert [preset.id for preset in found.presets] == ["b"]
    assert [problem.source for problem in found.problems] == ["comfyui-workflow-templates-json, a"]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"type": "image"}]'])
def test_an_index_that_is_none_is_one_problem(text: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(text)
    found = Templates(tmp_path).read()
    assert (found.presets, len(found.problems)) == ((), 1)


def test_a_line_of_the_index_that_does_not_fit_is_a_problem_and_the_others_survive(tmp_path: Path) -> None:
    templates = write(tmp_path, {"a": workflow(model()), "b": workflow(model())})
    index = json.loads((tmp_path / "index.json").read_text())
    index[0]["templates"] += [{"name": "../a", "title": "A"}, {"title": "no name"}, 1, {"name": "b", "title": "again"}]
    (tmp_path / "index.json").write_text(json.dumps(index))
    found = templates.read()
    assert [preset.name for preset in found.presets] == ["A", "B"]
    assert len(found.problems) == 4


@pytest.mark.parametrize(("type_", "kind"), [("llm", "text"), ("3d", "3d"), ("audio", "audio"), ("video", "video")])
def test_the_type_of_the_category_is_the_kind(type_: str, kind: str, tmp_path: Path) -> None:
    (preset,) = write(tmp_path, {"a": workflow(model())}, type_).read().presets
    assert preset.kind == kind


def test_templates_of_a_type_nobody_knows_are_images_and_a_problem_tells(tmp_path: Path) -> None:
    found = write(tmp_path, {"a": workflow(model())}, "hologram").read()
    assert [preset.kind for preset in found.presets] == ["image"]
    assert "'hologram'" in found.problems[0].message


def test_hugging_faces_question_for_a_download_is_no_other_address(tmp_path: Path) -> None:
    url = "https://huggingface.co/a/b/resolve/main/a.safetensors"
    found = write(tmp_path, {"a": workflow(model(url), model(f"{url}?download=true"))}).read()
    assert [file.url for file in found.presets[0].files] == [url]
    assert found.passed_over == ()


def test_another_hosts_question_is_a_part_of_its_address(tmp_path: Path) -> None:
    (preset,) = write(tmp_path, {"a": workflow(model(f"{URL}?download=true"))}).read().presets
    assert preset.files[0].url == f"{URL}?download=true"


def test_of_two_addresses_in_one_template_the_one_that_most_templates_name_is_taken(tmp_path: Path) -> None:
    workflows = {"a": workflow(model(URL), model(OTHER)), "b": workflow(model(OTHER))}
    found = write(tmp_path, workflows).read()
    assert [preset.files[0].url for preset in found.presets] == [OTHER, OTHER]
    assert [(other.preset_id, other.file.url) for other in found.passed_over] == [("a", URL)]


def test_of_two_addresses_that_as_many_name_it_is_always_the_same_one(tmp_path: Path) -> None:
    workflows = {"a": workflow(model(URL), model(OTHER)), "b": workflow(model(OTHER), model(URL))}
    found = write(tmp_path, workflows).read()
    assert [[file.url for file in preset.files] for preset in found.presets] == [[URL], [URL]]


def test_a_digest_is_taken_in_lower_case(tmp_path: Path) -> None:
    (preset,) = write(tmp_path, {"a": workflow(model(hash="AB" * 32, hash_type="SHA256"))}).read().presets
    assert preset.files[0].sha256 == "ab" * 32


def test_a_digest_of_another_kind_is_none(tmp_path: Path) -> None:
    found = write(tmp_path, {"a": workflow(model(hash="ab" * 32, hash_type="BLAKE3"))}).read()
    assert (found.presets[0].files[0].sha256, found.problems) == (None, ())


@pytest.mark.parametrize("digest", ["ab", "zz" * 32, "ab" * 33])
def test_a_digest_that_is_none_is_a_problem_and_the_file_stays(digest: str, tmp_path: Path) -> None:
    found = write(tmp_path, {"a": workflow(model(hash=digest, hash_type="SHA256"))}).read()
    assert found.presets[0].files[0].sha256 is None
    assert len(found.problems) == 1


def test_two_digests_of_the_same_address_are_a_problem_and_neither_is_held_against_it(tmp_path: Path) -> None:
    one, two = model(hash="ab" * 32, hash_type="SHA256"), model(hash="cd" * 32, hash_type="SHA256")
    found = write(tmp_path, {"a": workflow(one), "b": workflow(two)}).read()
    assert [preset.files[0].sha256 for preset in found.presets] == [None, None]
    assert [problem.source for problem in found.problems] == ["comfyui-workflow-templates-json, b"]


def test_a_tutorial_that_is_no_web_address_is_left_out(tmp_path: Path) -> None:
    (preset,) = write(tmp_path, {"a": workflow(model())}, tutorialUrl="javascript:alert(1)").read().presets
    assert preset.tutorial is None


def test_presets_that_share_a_file_hold_it_once(official: TemplateSet) -> None:
    files = [file for preset in official.presets for file in preset.files]
    assert len({id(file) for file in files}) == len(set(files)) < len(files)
