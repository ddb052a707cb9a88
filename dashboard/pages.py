"""The pages: each shows what is known now, and its script keeps it up to date."""

import asyncio
import functools
from collections.abc import Mapping
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from msgspec.structs import asdict
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from dashboard.answers import whole_number, yes_or_no
from dashboard.api.models import OFFSET_MAX, model_query
from dashboard.formats import FILTERS
from dashboard.live.queue import queue_message
from dashboard.messages import PresetSummary, download_list, models, preset_detail, preset_list
from dashboard.suite import Suite, suite_of
from services import dev_tools, settings, standing
from services.errors import WorkspaceUnavailable
from services.health import log_tail
from services.hub_accounts import Credential
from services.model_folders import model_folders
from services.models import folder_sizes
from services.plans import Plan
from services.presets import Preset
from services.settings import APP_DIR

VERSION = "0.1.0"
STATIC_DIR = APP_DIR / "dashboard" / "static"
STATIC_URL = "/_suite/static/"
MODELS_PER_PAGE = 100
OUTPUTS = 24
SUGGESTIONS = 3
THEMES = frozenset({"light", "dark"})
# The states of a preset in which it can be installed.
_PLANNED = frozenset({"available", "partial", "cancelled", "failed"})


@functools.cache
def environment() -> Environment:
    """Jinja, with its templates compiled once."""
    templates = Environment(
        loader=FileSystemLoader(APP_DIR / "dashboard" / "templates"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(FILTERS)
    templates.globals["asset"] = lambda name: STATIC_URL + _manifest()[name]
    return templates


@functools.cache
def _manifest() -> dict[str, str]:
    """The published name of each file that `build.mjs` made."""
    return msgspec.json.decode((STATIC_DIR / "manifest.json").read_bytes(), type=dict[str, str])


def _own(name: str) -> str:
    """The address of the script or stylesheet that this page alone needs; empty for a page without one."""
    published = _manifest().get(name)
    return STATIC_URL + published if published else ""


def page(request: Request, template: str, context: Mapping[str, Any], status: int = 200) -> HTMLResponse:
    theme = request.cookies.get("theme", "")
    shared = {
        "version": VERSION,
        "theme": theme if theme in THEMES else "system",
        "module": _own(template.replace(".html", ".js")),
        "style": _own(template.replace(".html", ".css")),
    }
    return HTMLResponse(environment().get_template(template).render({**shared, **context}), status)


async def home(request: Request) -> Response:
    suite = suite_of(request)
    shelf, status = await suite.library.shelf(), await suite.system.status()
    comfyui_log = await asyncio.to_thread(log_tail, suite.settings.state_dir / "logs" / "comfyui.log", 12)
    queue = queue_message(suite.runs)
    context = {
        "downloads": download_list(shelf.catalogue, shelf.view),
        "queue": {"running": queue.running, "pending": queue.pending, "recent": finished_runs(suite)},
        "outputs": await suite.gallery.newest(OUTPUTS),
        "suggestions": suggest(preset_list(shelf.catalogue, shelf.view).presets, status.gpus),
        "comfyui_log": comfyui_log if status.comfyui.state != "ready" else [],
    }
    return await framed(request, "home", "Home", context)


async def presets(request: Request) -> Response:
    suite, selected, plan = suite_of(request), None, None
    if preset_id := request.path_params.get("preset_id"):
        plan = await _plan(request, suite, await suite.library.preset(preset_id))
    # After the plan, through which sizes may have become known.
    shelf = await suite.library.shelf()
    listed = preset_list(shelf.catalogue, shelf.view)
    if preset_id:
        preset = shelf.catalogue.get(preset_id)
        selected = preset_detail(preset, standing.status(preset, shelf.view), shelf.catalogue)
    files = plan.files if plan else ()
    troubles = [file.trouble.message for file in files if file.trouble and file.trouble.kind == "unreachable"]
    context = {
        "presets": sorted(listed.presets, key=_by_interest),
        "problems": listed.problems,
        "selected": selected,
        "plan": plan,
        "planned": {file.id: file for file in files},
        # Once: a volume that is away would be asked for ever.
        "is_asking": selected is not None and selected.state in _PLANNED and plan is None and not _is_asked(request),
        "unreachable": troubles[0] if troubles else None,
        "refused": sum(file.trouble is not None and file.trouble.kind != "unreachable" for file in files),
    }
    return await framed(request, "presets", "Presets", context)


async def _plan(request: Request, suite: Suite, preset: Preset) -> Plan | None:
    """None: there is nothing to plan, or the hosts have to be asked first, which the page does when it is shown."""
    if (await suite.library.status(preset)).state not in _PLANNED:
        return None
    try:
        if _is_asked(request):
            return await suite.planner.plan(preset, await suite.gpu_bytes())
        return await suite.planner.known(preset, await suite.gpu_bytes())
    except WorkspaceUnavailable:
        return None


def _is_asked(request: Request) -> bool:
    return yes_or_no(request, "plan", default=False)


def _by_interest(preset: PresetSummary) -> tuple[int, int, str]:
    """One's own, those that can be run from here, then the official ones that are run most."""
    return {"user": 0, "curated": 1, "official": 2}[preset.origin], -(preset.usage or 0), preset.name.lower()


async def models_page(request: Request) -> Response:
    suite = suite_of(request)
    listing, facts, query = await suite.library.listing(), suite.library.facts, model_query(request)
    offset = whole_number(request, "offset", 0, 0, OFFSET_MAX)
    shelf, found = listing.shelf, listing.find(query)
    types = [
        {"folder": name, "count": count, "size_bytes": size}
        for name, (count, size) in sorted(folder_sizes(shelf.models.values()).items())
    ]
    context = {
        "models": models(found.files[offset : offset + MODELS_PER_PAGE], shelf, facts),
        "types": types,
        "total": len(found.files),
        "total_bytes": found.total_bytes,
        "unchecked": len(shelf.models) - len(shelf.view.verified),
        "wasted_bytes": sum(group.wasted_bytes for group in listing.duplicates()),
        "is_complete": shelf.is_complete,
        "folders": await asyncio.to_thread(model_folders, suite.settings.comfyui_dir),
        "query": {**asdict(query), "offset": offset, "limit": MODELS_PER_PAGE},
    }
    return await framed(request, "models", "Models", context)


async def settings_page(request: Request) -> Response:
    suite = suite_of(request)
    context = {
        "settings": _settings_rows(suite.settings),
        "tokens": [{"id": t.id, "name": t.name, "created_at": t.created_at} for t in suite.tokens.all()],
        "credentials": await _credentials(suite),
        "password_source": suite.password.source,
    }
    return await framed(request, "settings", "Settings", context)


async def _credentials(suite: Suite) -> tuple[Credential, ...] | None:
    """None while the volume is away."""
    try:
        return await suite.volume.run(suite.accounts.credentials)
    except WorkspaceUnavailable:
        return None


async def error(request: Request, message: str, status: int) -> Response:
    return await framed(request, "error", _error_title(status), {"message": message}, status)


def bare_error(request: Request, message: str, status: int) -> Response:
    """Shows nothing of the machine."""
    return page(request, "bare.html", {"title": _error_title(status), "message": message}, status)


def _error_title(status: int) -> str:
    return "Not there" if status == 404 else "That did not work"


def finished_runs(suite: Suite) -> list[Any]:
    return [run for run in suite.runs.recent() if run.is_over][:10]


def suggest(presets: Any, gpus: Any) -> list[Any]:
    """Small ones first, that fit the largest card: what an empty volume could start with."""
    memory = max((gpu.memory_total_bytes or 0 for gpu in gpus), default=0)
    fitting = [preset for preset in presets if not memory or (preset.vram_bytes or 0) <= memory]
    return sorted(fitting, key=lambda preset: preset.size_bytes or 2**62)[:SUGGESTIONS]


async def framed(
    request: Request, name: str, title: str, context: Mapping[str, Any], status_code: int = 200, section: str = ""
) -> Response:
    """The page of the template `name` within the dashboard's frame; `section`: the page it belongs to, if another."""
    suite = suite_of(request)
    shelf, status = await suite.library.shelf(), await suite.system.status()
    downloads = download_list(shelf.catalogue, shelf.view)
    shared = {
        "page": section or name,
        "title": title,
        "auth_off": not suite.settings.auth,
        "all_paused": shelf.view.schedule.is_paused,
        "status": status,
        "dev_tools": dev_tools.installed(suite.settings),
        "counts": {
            "presets_installed": sum(
                all(shelf.view.is_present(file) for file in preset.files) for preset in shelf.catalogue
            ),
            "models": len(shelf.models),
            "workflows": len(shelf.workflows),
            "downloads": len(downloads),
        },
    }
    return page(request, f"{name}.html", {**shared, **context}, status_code)


def _settings_rows(config: settings.Settings) -> list[dict[str, Any]]:
    rows = []
    for field, (name, default, description, secret) in zip(
        config.__dataclass_fields__, settings.described(), strict=True
    ):
        value = getattr(config, field)
        rows.append(
            {
                "name": name,
                "value": _shown(value, secret),
                "default": default,
                "description": description,
                "secret": secret,
            }
        )
    return rows


def _shown(value: Any, secret: bool) -> str:
    if secret:
        return "set" if value else "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(value)
    return str(value)
