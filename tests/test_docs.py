"""What the documents say is held against the code."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from dashboard.api import ENDPOINTS
from dashboard.endpoint import Endpoint
from dashboard.live.hub import CHANNELS
from dashboard.messages import InstallMessage
from services import settings
from services.catalogue import load_catalogue
from services.errors import NotEnoughSpace
from services.installs import View, check_space
from services.runs import Run
from services.workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


@pytest.mark.parametrize("setting", settings.described(), ids=lambda setting: setting[0])
def test_every_setting_has_its_row(setting: tuple[str, str, str, bool]) -> None:
    name, default, _, secret = setting
    row = next(line for line in (DOCS / "settings.md").read_text().splitlines() if line.startswith(f"| `{name}`"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == (f"`{default}`" if default else "")
    assert ("(secret)" in cells[0]) == secret
    assert cells[2]


def test_no_row_describes_a_setting_that_is_gone() -> None:
    known = {name for name, *_ in settings.described()}
    documented = set(re.findall(r"^\| `([A-Z_]+)`", (DOCS / "settings.md").read_text(), re.MULTILINE))
    assert documented == known


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_every_endpoint_is_documented(endpoint: Endpoint) -> None:
    assert f"{endpoint.method} {endpoint.path}" in (DOCS / "api.md").read_text()


def test_the_example_of_an_error_is_what_is_really_answered() -> None:
    example = re.search(r"```json\n(\{\"error\".*?)```", (DOCS / "api.md").read_text(), re.DOTALL)
    assert example is not None
    error = json.loads(example[1])["error"]
    preset = load_catalogue(ROOT / "presets", Workspace(Path("/nonexistent"))).get("FLUX1_DEV_FP8")
    free, reserve = error["details"]["free_bytes"], error["details"]["reserve_bytes"]
    with pytest.raises(NotEnoughSpace) as caught:
        check_space(preset, View({}, frozenset(), {}, {}, {}), free + reserve, reserve, {})
    assert error == {"type": caught.value.type, "message": caught.value.message, "details": caught.value.details}


@pytest.mark.parametrize("type_", [InstallMessage, Run], ids=lambda type_: type_.__name__)
def test_every_field_of_what_the_api_answers_most_is_documented(type_: type[msgspec.Struct]) -> None:
    text = (DOCS / "api.md").read_text()
    assert [field.name for field in msgspec.structs.fields(type_) if f"`{field.name}`" not in text] == []


def test_every_channel_is_documented() -> None:
    text = (DOCS / "api.md").read_text()
    assert all(f"| `{channel}` |" in text for channel in CHANNELS)


def test_every_make_target_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    assert set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)) == set(phony[1].split())
    for target in phony[1].split():
        assert re.search(rf"^{target}:[^#\n]*## \S", makefile, re.MULTILINE), target


def test_every_link_between_documents_leads_somewhere() -> None:
    for document in (ROOT / "README.md", *DOCS.glob("*.md")):
        for link in re.findall(r"\]\((?!http)([^)#]+)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_every_folder_has_its_line() -> None:
    text = (DOCS / "architecture.md").read_text()
    for folder in (
        "bootstrap",
        "dashboard",
        "worker",
        "services",
        "nginx",
        "presets",
        "provision",
        "tests",
        "benchmarks",
    ):
        assert f"`{folder}/`" in text
        assert (ROOT / folder).is_dir()
