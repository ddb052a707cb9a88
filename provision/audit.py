"""Asks the advisory services about every locked package, Python's and npm's; the tool for it lies in `.build/audit`."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provision import node, stamps, virtualenv
from provision.errors import AdvisoriesFound, CommandError, NotAudited
from provision.step import Step

LOCK = Path(__file__).with_name("requirements-audit.lock")
LOCKS = ("requirements*.lock", "image/*.lock", "provision/*.lock")
ANSWER_SECONDS = 300.0


@dataclass(frozen=True)
class Answer:
    """What is known of one lock: how many packages were judged, one line for each advisory, and what was not judged."""

    lock: str
    judged: int = 0
    advisories: list[str] = field(default_factory=list)
    unanswered: str = ""

    def __str__(self) -> str:
        known = f"{len(self.advisories)} advisories" if self.advisories else "no advisory"
        return f"{self.lock}: " + (self.unanswered or f"{self.judged} packages, {known}")


def run(step: Step) -> None:
    """Raises AdvisoriesFound, NotAudited when a service did not answer for all of a lock, or another SetupError."""
    python = _install(step)
    answers = []
    for lock in locks(step.settings.root):
        answers.append(_ask_pip_audit(step, python, lock))
        step.say(str(answers[-1]))
    answers.append(_ask_npm(step))
    step.say(str(answers[-1]))
    judge(answers)


def locks(root: Path) -> list[Path]:
    """Every lock of Python packages."""
    return sorted(lock for pattern in LOCKS for lock in root.glob(pattern))


def judge(answers: list[Answer]) -> None:
    """Raises AdvisoriesFound, else NotAudited: what is known to be bad matters more than what is unknown."""
    found = [f"{answer.lock}: {line}" for answer in answers for line in answer.advisories]
    if found:
        raise AdvisoriesFound("\n          ".join(["there are advisories; upgrade what they name:", *found]))
    silent = [answer.lock for answer in answers if answer.unanswered]
    if silent:
        raise NotAudited(f"no advisory is known, but the services did not answer for all of {', '.join(silent)}")


def read_pip_audit(lock: str, report: dict[str, Any]) -> Answer:
    """From `pip-audit --format json`, which also calls it a success when the service knew none of the packages."""
    judged = [package for package in report["dependencies"] if "skip_reason" not in package]
    skipped = len(report["dependencies"]) - len(judged)
    advisories = [
        f"{package['name']} {package['version']}: {advisory['id']}"
        + (f", mended in {', '.join(advisory['fix_versions'])}" if advisory["fix_versions"] else "")
        for package in judged
        for advisory in package["vulns"]
    ]
    unanswered = f"the advisory service knows nothing of {skipped} of {skipped + len(judged)} packages"
    return Answer(lock, len(judged), advisories, unanswered if skipped else "")


def read_npm(lock: str, report: dict[str, Any]) -> Answer:
    """From `npm audit --json`, whose answer has `metadata` only when the service answered."""
    if "metadata" not in report:
        reason = report.get("message") or report.get("error", {}).get("summary") or "it gave no reason"
        reason = reason.splitlines()[0].split(" - ")[0]
        return Answer(lock, unanswered=f"the advisory service did not answer ({reason})")
    advisories = [
        f"{name} {package['range']}: {package['severity']}" for name, package in report["vulnerabilities"].items()
    ]
    return Answer(lock, report["metadata"]["dependencies"]["total"], advisories)


def _install(step: Step) -> Path:
    folder, stamp_file = step.settings.build_dir / "audit", step.settings.build_dir / "audit.json"
    stamp = {"lock": stamps.digest([LOCK], LOCK.parent)}
    python = folder / "bin" / "python"
    if not python.exists() or stamps.read(stamp_file) != stamp:
        stamp_file.unlink(missing_ok=True)
        step.say(f"installing {LOCK.name} into {folder.relative_to(step.settings.root)}")
        virtualenv.create(step, folder, step.settings.python)
        virtualenv.install(step, f"installing {LOCK.name}", python, "--require-hashes", "-r", LOCK)
        stamps.write(stamp_file, stamp)
    return python


def _ask_pip_audit(step: Step, python: Path, lock: Path) -> Answer:
    name = str(lock.relative_to(step.settings.root))
    report = step.settings.build_dir / "audit" / "report.json"
    report.unlink(missing_ok=True)
    # The lock is all there is to know; pip would resolve it again.
    flags = ("--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json", "--output", report)
    try:
        step.run(
            f"auditing {name}",
            *(python, "-m", "pip_audit", *flags, "--requirement", lock),
            timeout_seconds=ANSWER_SECONDS,
        )
    except CommandError as error:
        # It ends with 1 for findings as for a service that is out of reach; the report tells them apart.
        if not report.exists():
            said = list(_last_lines(error.output))
            return Answer(name, unanswered=f"the advisory service did not answer ({said[-1] if said else 'silence'})")
    return read_pip_audit(name, json.loads(report.read_text(encoding="utf-8")))


def _ask_npm(step: Step) -> Answer:
    found = node.find(step)
    path = f"{found.program.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    try:
        output = step.run(
            "auditing package-lock.json",
            *(*found.npm, "audit", "--package-lock-only", "--json", "--loglevel=error"),
            cwd=step.settings.root,
            environment={"PATH": path},
            timeout_seconds=ANSWER_SECONDS,
        )
    except CommandError as error:
        output = error.output
    return read_npm("package-lock.json", _first_object(output))


def _first_object(output: str) -> dict[str, Any]:
    """The JSON object among other lines; empty when there is none."""
    try:
        found, _ = json.JSONDecoder().raw_decode(output, output.index("{"))
    except ValueError:
        return {}
    return dict(found)


def _last_lines(output: str) -> Iterator[str]:
    return (line.strip()[:200] for line in output.splitlines() if line.strip())
