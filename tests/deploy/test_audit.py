"""What `make audit` makes of the answers it gets, and of those it does not get."""

from typing import Any

import pytest

from provision.audit import Answer, judge, locks, read_npm, read_pip_audit
from provision.errors import AdvisoriesFound, NotAudited, SetupError
from provision.program import COMMANDS
from tests.deploy.facts import ROOT


def package(name: str, **facts: Any) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "vulns": []} | facts


def test_every_lock_is_audited() -> None:
    names = {str(lock.relative_to(ROOT)) for lock in locks(ROOT)}
    assert {"requirements.lock", "requirements-dev.lock", "image/comfyui.lock"} <= names
    assert "provision/requirements-audit.lock" in names
    assert "audit" in COMMANDS


def test_packages_without_advisories_pass() -> None:
    answer = read_pip_audit("a.lock", {"dependencies": [package("one"), package("two")]})
    assert str(answer) == "a.lock: 2 packages, no advisory"
    judge([answer])


def test_an_advisory_names_the_package_and_what_mends_it() -> None:
    vulnerability = {"id": "PYSEC-1", "fix_versions": ["1.1"]}
    answer = read_pip_audit("a.lock", {"dependencies": [package("one", vulns=[vulnerability]), package("two")]})
    with pytest.raises(AdvisoriesFound, match=r"a\.lock: one 1\.0: PYSEC-1, mended in 1\.1"):
        judge([answer])


def test_packages_that_the_service_does_not_know_were_not_audited() -> None:
    # pip-audit itself calls that a success.
    unknown = {"name": "one", "skip_reason": "Dependency not found"}
    answer = read_pip_audit("a.lock", {"dependencies": [unknown, package("two")]})
    with pytest.raises(NotAudited, match=r"a\.lock"):
        judge([answer])


def test_a_known_advisory_matters_more_than_a_silent_service() -> None:
    with pytest.raises(AdvisoriesFound):
        judge([Answer("a.lock", unanswered="silence"), Answer("b.lock", 1, ["one 1.0: PYSEC-1"])])


def test_the_exit_status_tells_the_two_apart() -> None:
    assert (AdvisoriesFound("").exit_status, NotAudited("").exit_status, SetupError("").exit_status) == (1, 3, 1)


def test_npm_without_an_answer_was_not_audited() -> None:
    refusal = {"message": "405 Method Not Allowed - POST https://example.com", "error": {"summary": ""}}
    answer = read_npm("package-lock.json", refusal)
    assert str(answer) == "package-lock.json: the advisory service did not answer (405 Method Not Allowed)"


def test_npm_without_any_output_was_not_audited() -> None:
    assert read_npm("package-lock.json", {}).unanswered


def test_npms_advisories_are_counted() -> None:
    thing = {"range": "<2", "severity": "high"}
    report = {"vulnerabilities": {"thing": thing}, "metadata": {"dependencies": {"total": 9}}}
    assert read_npm("package-lock.json", report).advisories == ["thing <2: high"]
