"""The presets of PRESET_DOWNLOAD, asked for when the suite starts, in the background."""

import contextlib
import difflib

from services import installs, log, plans
from services.catalogue import load_catalogue
from services.credentials import Credentials
from services.errors import InvalidName, NotFound, SuiteError
from services.installs import Installs, View
from services.lockfile import LockFile
from services.presets import Preset
from services.proxies import Proxies
from services.resolver import Fact, Resolver, Trouble
from services.settings import APP_DIR, Settings
from services.sources import Sources
from services.uploads import UploadBook
from services.verified import VerifiedFiles
from services.workflows import Workflows
from services.workspace import Workspace

# How long hosts are waited for that say how large their files are.
RESOLVE_SECONDS = 8.0

_log = log.get("at_start")


def request(config: Settings) -> None:
    """Records each preset as wanted, unless all of it is here or it is under way. One that cannot be installed is
    logged and holds up no other.

    Raises OSError when the volume does not answer.
    """
    workspace = Workspace(config.workspace)
    catalogue, records = load_catalogue(APP_DIR / "presets", workspace), Installs(workspace)
    resolver = _resolver(config, workspace)
    for id_ in dict.fromkeys(config.preset_download):
        try:
            _request(catalogue.get(id_), config, workspace, records, resolver)
        except NotFound:
            near = difflib.get_close_matches(id_, catalogue.presets, n=3)
            _log.error("preset_not_known", preset_id=id_, did_you_mean=near or None)
        except SuiteError as error:
            _log.error("preset_not_requested", preset_id=id_, reason=error.message)


def _request(preset: Preset, config: Settings, workspace: Workspace, records: Installs, resolver: Resolver) -> None:
    uploads = UploadBook(workspace, config.comfyui_dir, config.disk_reserve_bytes)
    view = _view(preset, workspace, records, uploads.promised_bytes())
    missing = plans.missing_files(preset, view)
    if not missing:
        _log.info("preset_is_here", preset_id=preset.id)
        return
    known = plans.locked_preset(preset, view, _asked(preset, resolver))
    kept = {file.id: records.partial_bytes(file) for file in known.files}
    installs.check_space(known, view, workspace.free_bytes(), config.disk_reserve_bytes, kept)
    joined = records.request(known)
    Workflows(workspace).save_of_preset(preset)
    fetch = [f"{file.folder}/{file.name}" for file in missing]
    _log.info("install_requested", preset_id=preset.id, joined=joined, fetch=fetch)


def _resolver(config: Settings, workspace: Workspace) -> Resolver:
    """One for all: it remembers which hosts do not answer."""
    credentials = Credentials(config, workspace)
    return Resolver(
        lambda: Sources.from_settings(config, credentials), Proxies.from_settings(config), LockFile(workspace)
    )


def _asked(preset: Preset, resolver: Resolver) -> dict[str, Fact | Trouble]:
    """What the hosts say of those files whose size or digest the preset does not name."""
    urls = [file.url for file in preset.files if file.size_bytes is None or file.sha256 is None]
    return resolver.resolve(urls, seconds=RESOLVE_SECONDS)


def _view(preset: Preset, workspace: Workspace, records: Installs, uploading_bytes: int) -> View:
    wanted = records.all()
    coming = [file for install in wanted.values() if install.completed_at is None for file in install.files]
    verified = VerifiedFiles(workspace).holding_for([*preset.files, *coming])
    kept = {}
    for file in coming:
        # Of a folder that became a link leading out of the models, nothing counts.
        with contextlib.suppress(InvalidName):
            kept[file.id] = records.partial_bytes(file)
    return View(
        installs=wanted,
        removed=frozenset(),
        holds=records.holds(),
        verified=verified,
        progress={},
        kept=kept,
        uploading_bytes=uploading_bytes,
    )
