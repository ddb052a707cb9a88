"""`python -m tools.preset_manager`: reads the arguments, becomes the suite's user, runs one command."""

import importlib
import logging
import os
import signal
import sys

from services import log, settings
from services.errors import InvalidSettings, SuiteError, WorkspaceUnavailable
from services.settings import Settings
from tools.preset_manager import arguments, endings
from tools.preset_manager.context import Context
from tools.preset_manager.endings import Ending
from tools.preset_manager.output import Output
from tools.preset_manager.user import become_suite

# By name: each brings what it needs, and `list` has no use for an HTTP client.
COMMANDS = {
    "list": "listing",
    "show": "details",
    "plan": "planning",
    "install": "installing",
    "uninstall": "uninstalling",
    "status": "overview",
    "doctor": "doctor",
}


def main() -> int:
    asked = arguments.parse()
    output = Output(as_json=asked.json)
    try:
        config = settings.from_environment()
    except InvalidSettings as error:
        output.complain(f"These settings cannot be used:\n{error.message}")
        return Ending.USAGE
    become_suite(config)
    # As Ctrl-C: what was fetched is kept.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _log_to_file(config)
    if asked.command != "doctor" and not config.workspace.is_dir():
        return _refuse(output, WorkspaceUnavailable(_missing(config)))
    command = importlib.import_module(f"tools.preset_manager.{COMMANDS[asked.command]}")
    try:
        return int(command.run(Context(config, output), asked))
    except KeyboardInterrupt:
        return Ending.INTERRUPTED
    except BrokenPipeError:
        # Whoever read has enough; what is flushed at the end has nowhere to go either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Ending.DONE
    except SuiteError as error:
        return _refuse(output, error)
    except OSError as error:
        output.complain(f"{error}; preset-manager doctor looks at the volume")
        output.document({"error": {"type": "error", "message": str(error), "details": {}}})
        return Ending.FAILED


def _refuse(output: Output, error: SuiteError) -> int:
    output.complain(error.message)
    output.document({"error": {"type": error.type, "message": error.message, "details": error.details}})
    return endings.of_error(error)


def _missing(config: Settings) -> str:
    return f"WORKSPACE {config.workspace} does not exist: mount the volume there, or set WORKSPACE to where it is"


def _log_to_file(config: Settings) -> None:
    """Not to the terminal, where progress is shown."""
    log.configure("preset-manager", config.logs_dir / "downloads.log", config.log_level)
    root = logging.getLogger()
    for handler in [found for found in root.handlers if type(found) is logging.StreamHandler]:
        root.removeHandler(handler)


if __name__ == "__main__":
    sys.exit(main())
