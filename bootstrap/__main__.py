"""`python -m bootstrap`: what the container starts. Ends by becoming supervisord."""

import os
import shutil
import sys
import time
from pathlib import Path

from bootstrap import announcer, comfyui, example, model_paths, numbers, password, programs, users, volume
from bootstrap.journal import Journal
from bootstrap.programs import CannotStart
from services import settings
from services.boot import Boot
from services.comfyui_starts import StartLedger
from services.errors import InvalidSettings, SuiteError
from services.model_folders import model_folders
from services.settings import Settings
from services.volume import VolumeReport, keep_report
from services.workspace import Workspace

PROGRAMS = ("nginx", "redis-server")
BAD_SETTINGS = 2


def main() -> int:
    started_at = time.time()
    try:
        config = settings.from_environment()
    except InvalidSettings as error:
        print(f"These settings cannot be used:\n{error.message}\n(docs/settings.md has them all)", file=sys.stderr)
        return BAD_SETTINGS
    try:
        start(config, started_at)
    except CannotStart as reason:
        print(f"The suite cannot start:\n{reason}", file=sys.stderr)
    except (OSError, SuiteError) as error:
        print(f"The suite cannot start:\n{error}", file=sys.stderr)
    return 1


def start(config: Settings, started_at: float) -> None:
    """Phases 1 and 2, then exec. Returns only by raising CannotStart or OSError."""
    python = Path(sys.executable)
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise CannotStart(f"{' and '.join(missing)} not found: install it (Debian: apt-get install nginx redis-server)")
    programs.check_temporary()
    programs.check_alone(config)
    programs.check_ports(config)
    unnumbered = numbers.apply(config)
    who = users.find(config, python)
    programs.prepare_state(config, who)
    os.umask(0o002)
    journal = Journal(config.state_dir, Boot(started_at))
    folders = model_folders(config.comfyui_dir)
    report = _check_volume(journal, config, who, folders)
    supervisor_file = _configure(journal, config, who, folders, report, python)
    with journal.step("Separate users", "2") as result:
        if missing := [*who.missing, *filter(None, [unnumbered])]:
            result.set("warning", "; ".join(missing))
    journal.save(config.logs_dir if report.writable else None, who.suite)
    _greet(config, who, report)
    # Each thread of a program would keep a heap of its own for what it once used.
    environ = {**settings.environment_for_programs(), "MALLOC_ARENA_MAX": "2"}
    programs.move_secrets_to_files(environ, config, who)
    ready = f"Ready after {{}} s: http://localhost:{config.dashboard_port}"
    announcer.start(config.state_dir, config.supervisor_socket, ready)
    os.execve(python, [str(python), "-m", "supervisor.supervisord", "-c", str(supervisor_file)], environ)


def _check_volume(journal: Journal, config: Settings, who: users.Users, folders: tuple[str, ...]) -> VolumeReport:
    with journal.step("Workspace", "1") as result:
        report = volume.check(config, who, folders)
        keep_report(config.state_dir, report)
        result.set(*volume.verdict(config, report))
    return report


def _configure(
    journal: Journal, config: Settings, who: users.Users, folders: tuple[str, ...], report: VolumeReport, python: Path
) -> Path:
    workspace = Workspace(config.workspace)
    directories = programs.comfyui_directories(config, report, who)
    file = workspace.model_paths_file if report.writable else model_paths.local_file(config)
    with journal.step("Model paths", "2") as result:
        if problem := model_paths.write(file, config, who.suite, folders, report):
            result.set("failed", problem)
        else:
            result.set("ok", str(file))
    if problem := example.put_into(directories["input"], config.comfyui_dir, who.comfyui):
        print(f"{directories['input']} got no {example.NAME}: {problem}", flush=True)
    try:
        StartLedger(config.state_dir).reset(safe_mode=False)
    except OSError as error:
        # It lies in ComfyUI's own folder: what a custom node put in its place must not stop the boot.
        print(f"ComfyUI's starts are counted on: {error}", flush=True)
    comfyui.write_launch(
        config, comfyui.Launch(model_paths=str(file), **{name: str(path) for name, path in directories.items()})
    )
    return programs.write_configuration(config, who, python, directories["output"])


def _greet(config: Settings, who: users.Users, report: VolumeReport) -> None:
    print(f"\nDashboard  http://localhost:{config.dashboard_port}")
    print(f"ComfyUI    http://localhost:{config.comfyui_port}  (same login)")
    print(f"Password   {password.announce(config, who, report)}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
