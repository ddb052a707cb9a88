"""`/api/presets/`"""

from collections.abc import Container, Iterable

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
from services import installs, standing
from services.artifacts import Artifact
from services.doorbell import ring
from services.plans import Plan
from services.presets import Preset
from services.removals import Removal


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
    # What is recorded is what presets.yaml says now, not some seconds ago.
    suite.library.forget()
    return await begin_install(suite, await suite.library.preset(request.path_params["preset_id"]))


async def begin_install(suite: Suite, preset: Preset) -> Response:
    return json_answer(*await start_install(suite, preset))


async def start_install(suite: Suite, preset: Preset) -> tuple[InstallMessage, int]:
    """How far it is, and what that means in HTTP."""
    suite.library.forget()
    if (status := await suite.library.status(preset)).state == "installed":
        return install_message(status), 200
    joined = await suite.planner.request(preset)
    ids = [file.id for file in preset.files]
    if not (await suite.library.shelf()).view.schedule.is_paused:
        await suite.allow_downloads(ids)
    suite.downloads.touch(ids)
    ring(suite.settings.doorbell_socket)
    view = (await suite.library.shelf()).view
    if (known := view.installs.get(preset.id)) is not None and installs.stands_in_no_catalogue(preset.id):
        # With the sizes that its hosts said meanwhile.
        preset = installs.as_preset(known)
    return install_message(standing.status(preset, view), joined=joined), 202


async def uninstall(request: Request) -> Response:
    suite, dry_run = suite_of(request), yes_or_no(request, "dry_run", default=False)
    preset = await suite.library.preset(request.path_params["preset_id"])
    # Before anything is done: while it is not known what else needs its files, none may go.
    await suite.library.current()
    if not dry_run:
        async with suite.library.uninstalling(preset):
            return json_answer(await _removed(suite, preset))
    removal, leaving, here = await _leaving(suite, preset)
    return json_answer(Uninstalled(_names(leaving, here), removal.kept, sum(here.values()), dry_run))


async def _removed(suite: Suite, preset: Preset) -> Uninstalled:
    """What went and what stayed."""
    _, stopping, here = await _leaving(suite, preset)
    await suite.let_go([file.id for file in stopping])
    # Meanwhile another may have been installed that needs one of them.
    suite.library.forget()
    removal = await suite.files.removal_of(preset)
    leaving = [file for file in stopping if file.id in removal.leaving]
    in_place = [file for file in preset.files if file.id in removal.in_place]
    freed = await suite.library.remove_files(preset, [*leaving, *in_place])
    suite.downloads.touch(file.id for file in preset.files)
    return Uninstalled(_names(leaving, here), removal.kept, freed, dry_run=False)


async def _leaving(suite: Suite, preset: Preset) -> tuple[Removal, list[Artifact], dict[str, int]]:
    """What may go of it, and the bytes of what is here of that, by id."""
    removal = await suite.files.removal_of(preset)
    leaving = [file for file in preset.files if file.id in removal.leaving]
    return removal, leaving, await suite.files.here(leaving)


def _names(files: Iterable[Artifact], here: Container[str]) -> tuple[str, ...]:
    return tuple(file.name for file in files if file.id in here)


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
