"""What can be said to `preset-manager`."""

import argparse
from typing import get_args

from services.presets import Kind
from tools.preset_manager.endings import MEANINGS

_ABOUT = """\
Lists, installs and removes presets: named sets of model files for ComfyUI.

While the suite runs, an install is done by its workers and goes on in the background; otherwise it is done here.
"""
_ENDINGS = "exit codes:\n" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in MEANINGS.items())


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Ends the process with 2, or with 0 after --help."""
    return _parser().parse_args(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "preset-manager",
        description=_ABOUT,
        epilog=_ENDINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    listing = _command(commands, "list", "every preset, or those that hold all of the words")
    listing.add_argument("words", nargs="*", metavar="WORD", help="in the id, name, description or tags")
    listing.add_argument("--kind", choices=get_args(Kind), help="only presets of this kind")
    listing.add_argument("--installed", action="store_true", help="only what is installed")

    show = _command(commands, "show", "one preset and its files")
    show.add_argument("id", metavar="ID")

    plan = _command(commands, "plan", "what an install would fetch, and whether it fits")
    plan.add_argument("ids", nargs="+", metavar="ID")
    plan.add_argument("--refresh", action="store_true", help="ask the hosts again instead of the lock file")

    install = _command(commands, "install", "fetch what is missing")
    install.add_argument("ids", nargs="+", metavar="ID")
    install.add_argument(
        "--no-wait", action="store_true", help="only say what is wanted, and leave the rest to the suite"
    )
    install.add_argument("--here", action="store_true", help="fetch in this process, also while the suite runs")
    install.add_argument("--yes", "-y", action="store_true", help="do not ask")

    uninstall = _command(commands, "uninstall", "remove the files that nothing else needs")
    uninstall.add_argument("ids", nargs="+", metavar="ID")
    uninstall.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    uninstall.add_argument("--yes", "-y", action="store_true", help="do not ask")

    status = _command(commands, "status", "installs under way, or one preset")
    status.add_argument("id", nargs="?", metavar="ID")
    status.add_argument("--follow", "-f", action="store_true", help="until nothing moves any more")

    _command(commands, "doctor", "what is wrong, and what to do")
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, help_text: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=help_text, description=help_text, allow_abbrev=False)
    command.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return command
