"""The programs that come from Debian: nginx, Redis and git, what the tests need on top (a browser, say), and wrk."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from provision.errors import CommandError, SetupError
from provision.step import Step

# program: the packages that bring it, the preferred one first
Programs = Mapping[str, tuple[str, ...]]
RUN_PROGRAMS: Programs = {"nginx": ("nginx-light", "nginx"), "redis-server": ("redis-server",), "git": ("git",)}
TEST_PROGRAMS: Programs = {
    **RUN_PROGRAMS,
    "chromium": ("chromium",),
    "fusermount3": ("fuse3",),
    "openssl": ("openssl",),
    "unzip": ("unzip",),
}
# program: others that do as well
STAND_INS: Programs = {"chromium": ("chromium-browser", "google-chrome", "google-chrome-stable")}
BENCH_PROGRAMS: Programs = {**RUN_PROGRAMS, "wrk": ("wrk",)}
BENCH_DOWNLOADS_PROGRAMS: Programs = {
    **RUN_PROGRAMS,
    "curl": ("curl",),
    "aria2c": ("aria2",),
    "openssl": ("openssl",),
}
# The screenshots are drawn with them; without them another font stands in.
TEST_FONTS = ("fonts-inter", "fonts-jetbrains-mono")
SERVICES = ("nginx", "redis-server")

POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = """#!/bin/sh
# Put here by ComfyUI-Docker's set-up, which removes it again: packages must not start their services meanwhile.
exit 101
"""
APT_ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "LC_ALL": "C",  # its answers are read below
    "NEEDRESTART_SUSPEND": "1",  # Ubuntu restarts services after an install otherwise
}


def missing_python_packages() -> list[str]:
    """Debian takes `ensurepip`, which a virtual environment needs, out of Python and into a package of its own."""
    if importlib.util.find_spec("ensurepip"):
        return []
    return [f"python{sys.version_info.major}.{sys.version_info.minor}-venv"]


def find(program: str) -> str | None:
    """Where `program`, or another that does as well, lies on PATH."""
    return next(filter(None, map(shutil.which, (program, *STAND_INS.get(program, ())))), None)


def missing_programs(wanted: Programs, *, is_git_optional: bool) -> Programs:
    """Those of `wanted` that are not on PATH."""
    return {
        program: packages
        for program, packages in wanted.items()
        if not find(program) and not (program == "git" and is_git_optional)
    }


def install(step: Step, wanted: Programs, fonts: Sequence[str] = ()) -> None:
    """Installs what is missing of the programs and fonts, and of Python itself. Raises SetupError.

    Debian's own services stay stopped. Fonts are no reason to fail: without root they are left out.
    """
    has_apt = shutil.which("apt-get") is not None
    may_install = has_apt and os.geteuid() == 0
    # Only ComfyUI's source comes with git, and without it there is the copy on PyPI.
    programs = missing_programs(wanted, is_git_optional=step.settings.comfyui_dir is not None or not may_install)
    python_packages = missing_python_packages()
    fonts = [name for name in fonts if not _is_installed(name)]
    if not programs and not python_packages and not (fonts and may_install):
        return
    if not may_install:
        raise SetupError(_by_hand(programs, python_packages, has_apt))
    _install(step, [*programs.values(), *((name,) for name in [*python_packages, *fonts])])
    for service in (name for name in SERVICES if name in programs):
        # Nor may it start at the next boot: supervisord runs the suite's own.
        step.run(f"disabling Debian's own {service}", "update-rc.d", service, "disable", uninterrupted=True)


def _by_hand(programs: Programs, python_packages: list[str], has_apt: bool) -> str:
    *others, last = [*programs, *(["Python's ensurepip"] if python_packages else [])]
    names, verb = (f"{', '.join(others)} and {last}", "are") if others else (last, "is")
    if has_apt:
        packages = " ".join([*(choice[-1] for choice in programs.values()), *python_packages])
        browser = " (or, for chromium, any Chrome or Chromium on PATH)" if "chromium" in programs else ""
        return f"{names} {verb} not installed and this is not root: sudo apt-get install {packages}{browser}"
    return f"{names} {verb} not installed: install what is missing with this system's package manager"


def _is_installed(package: str) -> bool:
    return Path(f"/var/lib/dpkg/info/{package}.list").exists()


def _install(step: Step, choices: list[tuple[str, ...]]) -> None:
    _mend_interrupted(step)
    fresh_lists = not all(_candidate(step, choice) for choice in choices)
    problem = _update(step) if fresh_lists else None
    packages = []
    for choice in choices:
        name = _candidate(step, choice)
        if not name:
            raise _no_package(choice, problem)
        packages.append(name)
    step.say(f"installing {', '.join(packages)}: not on this machine yet")
    try:
        _download(step, packages)
    except CommandError:
        if fresh_lists:
            raise
        _update(step)  # a package list from last month names files that the mirror no longer has
        _download(step, packages)
    with services_kept_stopped():
        _apt(step, "installing packages", "install", "--no-install-recommends", *packages, uninterrupted=True)


def _no_package(choice: tuple[str, ...], problem: CommandError | None) -> SetupError:
    """`problem`: why the package lists could not be fetched."""
    if "chromium" in choice:
        # Ubuntu has it as a snap only, which needs a running snapd.
        return SetupError(
            "this system has no package chromium: install any Chrome or Chromium by hand, "
            f"onto PATH as {', '.join(STAND_INS['chromium'])} or chromium"
        )
    return problem or SetupError(
        f"this system has no package {' or '.join(choice)}: install the program by hand, onto PATH"
    )


def _mend_interrupted(step: Step) -> None:
    """After a killed run dpkg refuses everything until it may finish."""
    if step.run("asking dpkg for unfinished work", "dpkg", "--audit").strip():
        with services_kept_stopped():
            step.run(
                "finishing dpkg's interrupted work",
                *("dpkg", "--force-confdef", "--force-confold", "--configure", "-a"),
                environment=APT_ENVIRONMENT,
                uninterrupted=True,
            )


def _candidate(step: Step, choice: tuple[str, ...]) -> str | None:
    """The first package of `choice` that this machine's package lists can install."""
    for name in choice:
        policy = step.run("asking for packages", "apt-cache", "policy", name, environment=APT_ENVIRONMENT)
        if "Candidate: " in policy and "Candidate: (none)" not in policy:
            return name
    return None


def _update(step: Step) -> CommandError | None:
    """The error, which matters only if a package is not to be found then: one list of many may well be broken."""
    # Any: without it, apt-get reports success although no list could be fetched.
    flags = ("-o", "APT::Update::Error-Mode=any", "-o", "Acquire::Retries=1")
    try:
        _apt(step, "fetching the package lists", "update", *flags)
    except CommandError as error:
        return error
    return None


def _download(step: Step, packages: list[str]) -> None:
    """Apart from installing, so that Ctrl-C can end it: a download may hang, dpkg must not be cut off."""
    _apt(step, "downloading packages", "install", "--no-install-recommends", "--download-only", *packages)


def _apt(step: Step, what: str, *arguments: str, uninterrupted: bool = False) -> None:
    step.run(
        what,
        *("apt-get", "-y", "-o", "DPkg::Lock::Timeout=300", *arguments),
        environment=APT_ENVIRONMENT,
        uninterrupted=uninterrupted,
    )


@contextmanager
def services_kept_stopped(policy: Path = POLICY) -> Iterator[None]:
    """Debian starts a service as soon as it is installed; a policy-rc.d that answers 101 forbids it.

    https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt. One that is not ours stays as it is.
    """
    if policy.exists() and policy.read_text(encoding="utf-8", errors="replace") != POLICY_TEXT:
        yield
        return
    policy.write_text(POLICY_TEXT, encoding="utf-8")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)
