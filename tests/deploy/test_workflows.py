"""The GitHub workflows: they parse, pin what they use, and call only what exists."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from image.build import VARIANTS
from tests.deploy.facts import ROOT, WORKFLOWS, bake_bases, document

PIN = re.compile(r"uses: [\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
LOCAL = re.compile(r"uses: \./(\.github/workflows/[\w.-]+)$")


def steps(workflow: Any) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job.get("steps", [])


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


each_workflow = pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)


def test_there_is_one_for_each_purpose() -> None:
    assert [file.name for file in WORKFLOWS] == ["image.yml", "publish.yml", "refresh.yml", "test.yml"]


@each_workflow
def test_every_job_can_run(file: Path) -> None:
    workflow = document(file)
    assert workflow["on"]
    for job in workflow["jobs"].values():
        assert ("uses" in job) or (job["runs-on"] and job["steps"])
        needs = job.get("needs", [])
        assert {needs} if isinstance(needs, str) else set(needs) <= workflow["jobs"].keys()
    assert all(("uses" in step) != ("run" in step) for step in steps(workflow))


@each_workflow
def test_every_action_is_pinned_by_commit(file: Path) -> None:
    for line in file.read_text().splitlines():
        if "uses:" in line:
            local = LOCAL.search(line)
            assert PIN.search(line) or (local and (ROOT / local[1]).is_file()), line


@each_workflow
def test_it_calls_make_targets_that_exist(file: Path) -> None:
    called = {name for step in steps(document(file)) for name in re.findall(r"\bmake ([\w-]+)", step.get("run", ""))}
    assert called <= make_targets()


@each_workflow
def test_no_script_holds_an_expression(file: Path) -> None:
    # GitHub puts the value into the script: a branch name becomes code. Scripts read the environment instead.
    assert [step["run"] for step in steps(document(file)) if "${{" in step.get("run", "")] == []


@each_workflow
def test_it_may_only_read_unless_a_job_says_why_not(file: Path) -> None:
    workflow = document(file)
    assert workflow["permissions"] == {"contents": "read"}
    writing = {
        (name, permission)
        for name, job in workflow["jobs"].items()
        for permission, right in job.get("permissions", {}).items()
        if right == "write"
    }
    allowed = {
        "publish.yml": {("publish", "packages"), ("publish", "id-token"), ("publish", "attestations")},
        "refresh.yml": {("pull-request", "contents"), ("pull-request", "pull-requests")},
    }
    assert writing == allowed.get(file.name, set())


@each_workflow
def test_what_runs_code_of_others_has_no_token_at_hand(file: Path) -> None:
    for name, job in document(file)["jobs"].items():
        for step in job.get("steps", []):
            if step.get("uses", "").startswith("actions/checkout@") and name != "pull-request":
                assert step["with"]["persist-credentials"] is False


@each_workflow
def test_it_builds_targets_that_docker_bake_has(file: Path) -> None:
    for job in document(file)["jobs"].values():
        matrix = job.get("strategy", {}).get("matrix", {})
        if matrix:
            assert matrix["variant"] == list(VARIANTS)
            assert set(matrix.get("torch", [])) <= set(bake_bases())


def test_publishing_builds_everything_after_everything_has_passed() -> None:
    jobs = document(ROOT / ".github/workflows/publish.yml")["jobs"]
    assert set(jobs["publish"]["strategy"]["matrix"]["torch"]) == set(bake_bases())
    assert {"test", "image"} <= set(jobs["publish"]["needs"])


def test_the_tests_are_those_of_any_other_machine() -> None:
    scripts = [step["run"] for step in steps(document(ROOT / ".github/workflows/test.yml")) if "run" in step]
    assert [script.split()[-1] for script in scripts] == ["./.ci/run"]
