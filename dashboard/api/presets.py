"""`/api/presets/`"""

from starlette.requests import Request
from starlette.responses import Response

from dashboard.answers import json_answer
from dashboard.endpoint import Endpoint
from dashboard.messages import (
    InstallMessage,
    Kept,
    PresetDetail,
    PresetList,
    Uninstalled,
    install_message,
    preset_detail,
    preset_list,
)
from dashboard.suite import suite_of
from services import installs, standing
from services.doorbell import ring
from services.models import OURS


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


async def install(request: Request) -> Response:
    suite = suite_of(request)
    preset = await suite.library.preset(request.path_params["preset_id"])
    suite.library.forget()
    if (status := await suite.library.status(preset)).state == "installed":
        return json_answer(install_message(status))
    joined = await suite.library.request(preset)
    ids = [file.id for file in preset.files]
    if not (await suite.library.shelf()).view.schedule.is_paused:
        await suite.allow_downloads(ids)
    suite.downloads.touch(ids)
    ring(suite.settings.doorbell_socket)
    return json_answer(install_message(await suite.library.status(preset), joined=joined), 202)


async def uninstall(request: Request) -> Response:
    suite = suite_of(request)
    preset = await suite.library.preset(request.path_params["preset_id"])
    await suite.library.begin_uninstall(preset)
    shelf = await suite.library.shelf()
    needed = {file.id: installs.still_needed_by(file, preset, shelf.catalogue, shelf.view) for file in preset.files}
    leaving = [file for file in preset.files if not needed[file.id]]
    await suite.let_go([file.id for file in leaving])
    freed = await suite.library.remove_files(preset, leaving)
    suite.downloads.touch(file.id for file in preset.files)
    in_place = {file.id: model.root for file in leaving if (model := shelf.models.get(file.id)) and model.root != OURS}
    reasons = {
        **{id_: f"needed by {', '.join(other.name for other in others)}" for id_, others in needed.items() if others},
        **{id_: f"lies in {root}/, which is used and never changed" for id_, root in in_place.items()},
    }
    kept = tuple(Kept(file.name, reasons[file.id]) for file in preset.files if file.id in reasons)
    removed = tuple(file.name for file in preset.files if file.id not in reasons)
    return json_answer(Uninstalled(removed, kept, freed))


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
        "DELETE", "/api/presets/{preset_id}", uninstall, "Uninstall a preset", {200: Uninstalled}, errors=(404, 503)
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
