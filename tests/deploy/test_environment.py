"""What the deploy files and their guide say to set is what the suite reads."""

import re
from pathlib import Path

import pytest

from tests.deploy.facts import ROOT, deploy_files, setting_names

# Names that look like a setting and are not one.
OTHERS = {"API_KEY", "DAC_OVERRIDE", "RUNPOD_SECRET"}


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", text)) - OTHERS


@pytest.mark.parametrize("file", [*deploy_files(), ROOT / "docs" / "deploy.md"], ids=lambda file: file.name)
def test_every_variable_is_a_setting(file: Path) -> None:
    # Comments too: what stands there is meant to be taken over.
    assert names_in(file.read_text(encoding="utf-8")) - setting_names() == set()


def test_a_misspelt_variable_would_be_found() -> None:
    assert names_in("DASHBOARD_PASWORD_FILE: x") - setting_names() == {"DASHBOARD_PASWORD_FILE"}
