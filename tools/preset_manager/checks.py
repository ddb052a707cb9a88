"""What `preset-manager doctor` looks at: the volume, what lies on it, the hubs, the programs. Each check is a line or
a few, and none of them changes anything."""

import difflib
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import Literal

from msgspec import Struct

from services import installs, journal, volume, yaml_files
from services.credentials import Credentials
from services.hub_accounts import TITLES, HubAccounts
from services.model_folders import LEGACY_FOLDERS, model_folders
from services.model_headers import read_header
from services.placing import path_of
from services.proxies import Proxies
from services.settings import DEFAULT_WORKSPACE
from services.volume import VolumeReport
from services.yaml_files import InvalidYaml
from tools.preset_manager import words
from tools.preset_manager.context import Context

VOLUME_SECONDS = 5.0
# Of a long list, so many are named.
NAMED = 5
# How alike a folder's name must be to one of ComfyUI's to be taken for a slip.
LIKENESS = 0.75

State = Literal["ok", "note", "warning", "problem"]


class Check(Struct, frozen=True):
    """`remedy`: what to do, empty where nothing is wrong."""

    name: str
    state: State
    message: str
    remedy: str = ""


def of_volume(context: Context) -> tuple[Check, VolumeReport]:
    """In a thread that may hang in our stead."""
    root, found = context.config.workspace, list[VolumeReport]()
    thread = threading.Thread(target=lambda: found.append(volume.examine(root)), daemon=True)
    thread.start()
    thread.join(VOLUME_SECONDS)
    report = found[0] if found else volume.hung(root, VOLUME_SECONDS)
    if report.state != "ok":
        return Check("volume", "problem", report.message, report.remedy), report
    if not report.mounted and report.path == DEFAULT_WORKSPACE:
        remedy = f"Mount a volume at {root}: all that is installed is lost with the container."
        return Check("volume", "warning", f"nothing is mounted at {root}", remedy), report
    return Check("volume", "ok", f"{report.message}, {report.filesystem or 'file system not known'}"), report


def of_space(context: Context) -> Iterator[Check]:
    figures = shutil.disk_usage(context.config.workspace)
    free, reserve = figures.free, context.config.disk_reserve_bytes
    promised = installs.promised_bytes(context.view(()), ())
    text = f"{words.size(free)} of {words.size(figures.total)} free"
    text += f", {words.size(reserve)} of it in reserve" if reserve else ""
    if promised:
        text += f", {words.size(promised)} still to be fetched"
    remedy = "Remove presets or outputs you no longer need, or set DISK_RESERVE_BYTES lower."
    if free < reserve:
        yield Check("space", "problem", f"{text}: nothing can be installed", remedy)
    elif free - reserve < promised:
        yield Check("space", "problem", f"{text}: what is under way does not fit", remedy)
    else:
        yield Check("space", "ok", text)


def of_catalogue(context: Context) -> Iterator[Check]:
    mine, is_unreadable = str(context.workspace.user_presets_file), _is_unreadable(context.workspace.user_presets_file)
    for problem in context.catalogue.problems:
        text = problem.message if problem.source in problem.message else f"{problem.source}: {problem.message}"
        if problem.source.startswith(mine) and is_unreadable:
            yield Check("catalogue", "problem", text, "Correct the file: none of its presets can be used before.")
        else:
            yield Check("catalogue", "problem", text, "Correct that entry; the others can be used.")
    if not context.catalogue.problems:
        yield Check("catalogue", "ok", words.count(len(context.catalogue), "preset"))


def _is_unreadable(presets: Path) -> bool:
    """Whether nothing of the file counts, not just an entry of it."""
    try:
        content = yaml_files.read(presets)
    except (InvalidYaml, OSError):
        return True
    return not isinstance(content, Mapping) or not ("id" in content or isinstance(content.get("presets"), list))


def of_tokens(context: Context) -> Iterator[Check]:
    """Asks each hub that has a token; the token itself is shown nowhere."""
    credentials = Credentials(context.config, context.workspace)
    accounts = HubAccounts(context.config, credentials, Proxies.from_settings(context.config))
    for told in accounts.credentials():
        name = f"{TITLES[told.name]} token"
        if not told.set:
            yield Check(name, "note", "none; only models behind a licence or a login need one")
            continue
        checked = accounts.check(told.name, credentials.get(told.name))
        if checked.state == "valid":
            yield Check(name, "ok", f"valid, of the account {checked.account or 'that gave it'} (from {told.source})")
        elif checked.state == "refused":
            remedy = "Set another, or remove it; the dashboard has it under Settings."
            yield Check(name, "problem", f"{checked.message} (from {told.source})", remedy)
        else:
            yield Check(
                name,
                "warning",
                f"could not be checked: {checked.message}",
                "See whether the pod's network reaches the hub.",
            )


def of_downloads(context: Context) -> Iterator[Check]:
    """Files that are wanted and held back."""
    view = context.view(())
    for install in view.installs.values():
        if not install.is_open:
            continue
        held = [(file, view.holds[file.id]) for file in install.files if file.id in view.holds]
        for file, hold in held:
            if view.is_present(file) or hold.is_by_someone:
                continue
            again = "It is tried again by itself." if hold.until is not None else ""
            remedy = again or f"Mend what it says, then preset-manager install {install.preset_id}"
            state: State = "problem" if hold.until is None else "warning"
            yield Check("downloads", state, f"{install.preset_id}: {file.name}: {hold.message}", remedy)
    if view.schedule.is_paused:
        yield Check("downloads", "warning", "all downloads are paused", "Resume them in the dashboard.")


def of_leftovers(context: Context) -> Iterator[Check]:
    """Partial data of files that nobody waits for."""
    models = context.workspace.models
    wanted = {
        models / file.folder / f"{file.name}.part"
        for install in context.installs.all().values()
        if install.completed_at is None
        for file in install.files
    }
    for part in sorted(part for folder in models.iterdir() if folder.is_dir() for part in folder.rglob("*.part")):
        target = part.with_name(part.name.removesuffix(".part"))
        if part not in wanted and part.is_file() and not journal.lease_file(target).exists():
            size = words.size(part.stat().st_size)
            text = f"{_below(context, part)}: {size} of a download that nobody asks for any more"
            yield Check("leftovers", "warning", text, f"Delete it: rm {quote(str(part))}*")


def of_folders(context: Context) -> Iterator[Check]:
    """Folders of models that ComfyUI does not look into."""
    known = model_folders(context.config.comfyui_dir)
    try:
        names = sorted(entry.name for entry in os.scandir(context.workspace.models) if entry.is_dir())
    except FileNotFoundError:
        return
    for name in names:
        if name in known or name in LEGACY_FOLDERS or name.startswith("."):
            continue
        folder = context.workspace.models / name
        similar = difflib.get_close_matches(name.lower(), (*known, *LEGACY_FOLDERS), 1, LIKENESS)
        if similar:
            meant = LEGACY_FOLDERS.get(similar[0], similar[0])
            remedy = f"Move what is in it to {meant}: mv {quote(str(folder))}/* {quote(str(folder.with_name(meant)))}/"
            text = f"ComfyUI does not look into models/{name}; it probably is to be {meant}"
            yield Check("folders", "problem", text, remedy)
        else:
            yield Check("folders", "note", f"ComfyUI itself does not look into models/{name}; a custom node may")


def of_models(context: Context) -> Iterator[Check]:
    """Files that cannot be loaded, and files of which nobody knows whether they are right."""
    broken = []
    for file in sorted(context.models.values(), key=lambda file: (file.folder, file.name)):
        try:
            problem = read_header(path_of(context.workspace, file)).problem
        except OSError as error:
            problem = f"it cannot be read ({error.strerror})"
        if problem:
            broken.append(file.id)
            text = f"{file.folder}/{file.name} cannot be loaded: {problem}"
            yield Check("models", "problem", text, "Delete it and fetch it again.")
    checked = {*context.index.verified(context.models), *broken}
    files = [file for file in context.models.values() if file.id not in checked]
    if files:
        more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
        named = ", ".join(sorted(f"{file.folder}/{file.name}" for file in files)[:NAMED])
        text = f"{words.count(len(files), 'file')} never verified: {named}{more}"
        yield Check("models", "note", text, "Check files on the Models page computes their digests.")
    if not broken:
        yield Check("models", "ok", f"{words.count(len(context.models), 'file')} can be read")


def _below(context: Context, path: Path) -> str:
    return path.relative_to(context.config.workspace).as_posix()
