"""`/api/presets/`"""

from starlette.requests import Request
from starlette.responses import Response

from dashboard.answers import json_answer, yes_or_no
from dashboard.endpoint import Endpoint, Query
from dashboard.messages import (
    InstallMessage,
    PresetDetail,
    PresetList,
    Uninstalled,
    install_message,
    preset_detail,
    preset_list,
)
from dashboard.suite import Suite, suite_of
from services import standing
from services.doorbell import ring
from services.plans import Plan
from services.presets import Preset


async def list_presets(request: Request) -> Response:
    suite = suite_of(request)
    shelf = await suite.library.shelf()
    return suite.answers.presets.answer(
        request, (shelf.version, suite.downloads.version), lambda: preset_list(shelf.catalogue, shelf.view)
    )


async def get_preset(request: Request) -> Response:
    shelf = await suite_of(request).library.shelf()
    preset = shelf.catalogue.get(request.path_params["preset_id"])
    return json_answer(preset_detail(preset, standing.status(preset, shelf.view), shelf.catalogue))


async def get_status(request: Request) -> Response:
    library = suite_of(request).library
    return json_answer(install_message(await library.status(await library.preset(request.path_params["preset_id"]))))


async def get_plan(request: Request) -> Response:
    suite = suite_of(request)
    preset = await suite.library.preset(request.path_params["preset_id"])
    return json_answer(await suite.planner.plan(preset, await suite.gpu_bytes()))


async def resolve(request: Request) -> Response:
    """The only way to other bytes than those that were locked first."""
    suite = suite_of(request)
    preset = await suite.library.preset(request.path_params["preset_id"])
    return json_answer(await suite.planner.plan(preset, await suite.gpu_bytes(), refresh=True))


async def install(request: Request) -> Response:
    suite = suite_of(request)
    return await begin_install(suite, await suite.library.preset(request.path_params["preset_id"]))


async def begin_install(suite: Suite, preset: Preset) -> Response:
    suite.library.forget()
    if (status := await suite.library.status(preset)).state == "installed":
        return json_answer(install_message(status))
    joined = await suite.planner.request(preset)
    ids = [file.id for file in preset.files]
    if not (await suite.library.shelf()).view.schedule.is_paused:
        await suite.allow_downloads(ids)
    suite.downloads.touch(ids)
    ring(suite.settings.doorbell_socket)
    return json_answer(install_message(await suite.library.status(preset), joined=joined), 202)


async def uninstall(request: Request) -> Response:
    suite, dry_run = suite_of(request), yes_or_no(request, "dry_run", default=False)
    preset = await suite.library.preset(request.path_params["preset_id"])
    # Before anything is done: while it is not known what else needs its files, none may go.
    await suite.library.current()
    if not dry_run:
        await suite.library.begin_uninstall(preset)
    removal = await suite.files.removal_of(preset)
    leaving = [file for file in preset.files if file.id in removal.leaving]
    here = await suite.files.here(leaving)
    if dry_run:
        freed = sum(here.values())
    else:
        await suite.let_go([file.id for file in leaving])
        # Meanwhile another may have been installed that needs one of them.
        suite.library.forget()
        removal = await suite.files.removal_of(preset)
        leaving = [file for file in leaving if file.id in removal.leaving]
        in_place = [file for file in preset.files if file.id in removal.in_place]
        freed = await suite.library.remove_files(preset, [*leaving, *in_place])
        suite.downloads.touch(file.id for file in preset.files)
    removed = tuple(file.name for file in leaving if file.id in here)
    return json_answer(Uninstalled(removed, removal.kept, freed, dry_run))


ENDPOINTS = (
    Endpoint("GET", "/api/presets/", list_presets, "All presets", {200: PresetList}),
    Endpoint("GET", "/api/presets/{preset_id}", get_preset, "One preset", {200: PresetDetail}, errors=(404,)),
    Endpoint(
        "POST",
        "/api/presets/{preset_id}/install",
        install,
        "Install a preset",
        {200: InstallMessage, 202: InstallMessage},
        errors=(404, 409, 503, 507),
    ),
    Endpoint(
        "DELETE",
        "/api/presets/{preset_id}",
        uninstall,
        "Uninstall a preset",
        {200: Uninstalled},
        query=(Query("dry_run", bool, "true: only say what would be removed"),),
        errors=(404, 422, 503),
    ),
    Endpoint(
        "GET",
        "/api/presets/{preset_id}/plan",
        get_plan,
        "What installing would do",
        {200: Plan},
        errors=(404, 503),
    ),
    Endpoint(
        "POST",
        "/api/presets/{preset_id}/resolve",
        resolve,
        "Ask the hosts anew, and lock what they say",
        {200: Plan},
        errors=(404, 503),
    ),
    Endpoint(
        "GET",
        "/api/presets/{preset_id}/status",
        get_status,
        "How far an install is",
        {200: InstallMessage},
        errors=(404,),
    ),
)
