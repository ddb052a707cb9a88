"""docs/licences.md against the locks: it cannot go stale. `make licences` writes it anew."""

import re
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

from provision.errors import SetupError
from provision.licences import bundled, debian, locked, locks, stated
from tests.deploy.facts import ROOT

DOCUMENT = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")


def section(title: str) -> dict[str, tuple[str, str]]:
    """Version and licence of each package of the section whose title begins so."""
    found = re.search(rf"^## {re.escape(title)}.*?(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found is not None, f"{title} has no section: make licences"
    rows = re.findall(r"^\| (\S+) \| (\S*) ?\| (.+) \|$", found[0], re.MULTILINE)
    return {name: (version, licence) for name, version, licence in rows if name != "package"}


@pytest.mark.parametrize("lock", locks(ROOT), ids=lambda lock: lock.name)
def test_every_locked_package_is_listed(lock: Path) -> None:
    rows = {name: version for name, (version, _) in section(f"Python: `{lock.relative_to(ROOT)}`").items()}
    packages = locked(lock)
    # Those for some machines only may not be in the image.
    assert {name: version for name, (version, some) in packages.items() if not some}.items() <= rows.items()
    assert rows.items() <= {name: version for name, (version, _) in packages.items()}.items()


def test_every_npm_package_of_the_pages_is_listed() -> None:
    assert section("npm") == {package.name: (package.version, package.licence) for package in bundled(ROOT)}


def test_what_a_bundled_package_needs_is_bundled_too() -> None:
    assert "@vue/shared" in {package.name for package in bundled(ROOT)}


def test_every_debian_package_of_the_image_is_listed() -> None:
    assert section("Debian") == {package.name: ("", package.licence) for package in debian(ROOT)}


def test_no_package_is_without_a_licence() -> None:
    assert "not stated" not in DOCUMENT


def test_a_debian_package_of_unknown_licence_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("RUN apt-get update && apt-get install -y \\\n    nginx figlet\n")
    with pytest.raises(SetupError, match="figlet"):
        debian(tmp_path)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "thing-1.0.dist-info"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: MIT\nLicense: whatever", "MIT"),
        ("License: Apache 2.0", "Apache-2.0"),
        ("License: Permission is hereby granted,\n  free\nClassifier: License :: OSI Approved :: MIT License", "MIT"),
        ("Classifier: License :: A :: MIT License\nClassifier: License :: A :: BSD License", "MIT OR BSD"),
        ("Classifier: Topic :: Internet", "not stated"),
    ],
)
def test_the_licence_is_read_from_where_the_package_states_it(package: Path, metadata: str, licence: str) -> None:
    (package / "METADATA").write_text(f"Name: thing\nVersion: 1.0\n{metadata}\n")
    distribution: Distribution = PathDistribution(package)
    assert stated(distribution) == licence
