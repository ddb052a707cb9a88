"""`/api/downloads/`"""

import asyncio
from collections.abc import Callable
from typing import Annotated

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from dashboard.answers import json_answer, read_body, yes_or_no
from dashboard.endpoint import Endpoint, Query
from dashboard.messages import DownloadList, ScheduleMessage, download_list, schedule_message
from dashboard.suite import LOOK_SECONDS, Suite, suite_of
from services import installs
from services.artifacts import Artifact
from services.doorbell import ring
from services.errors import NotFound
from services.installs import Install, View


class Cancelled(Struct, frozen=True):
    """Ids of the files whose download was cancelled.

    Of a preset, those that no other preset waits for: the others go on for it.
    """

    cancelled: tuple[str, ...]


class Paused(Struct, frozen=True):
    """Ids of the files that are paused; of a preset, those that no other preset waits for."""

    paused: tuple[str, ...]


class Resumed(Struct, frozen=True):
    """Ids of the files that are wanted again. `all_paused`: they wait, because all downloads are paused."""

    resumed: tuple[str, ...]
    all_paused: bool


class Order(Struct, frozen=True):
    """Ids of presets, first to last."""

    ids: Annotated[tuple[str, ...], Meta(min_length=1)]


class _Target(Struct, frozen=True):
    """What an id in the path names: an install, or one file of any."""

    install: Install | None
    artifacts: tuple[Artifact, ...]
    view: View

    @property
    def ids(self) -> list[str]:
        return [file.id for file in self.artifacts]

    def own_ids(self) -> list[str]:
        """Those that stop when the target does."""
        if self.install is None:
            return self.ids
        return [file.id for file in installs.wanted_only_by(self.install, self.view)]


async def list_downloads(request: Request) -> Response:
    shelf = await suite_of(request).library.shelf()
    return json_answer(DownloadList(download_list(shelf.catalogue, shelf.view), shelf.view.schedule.is_paused))


async def cancel_download(request: Request) -> Response:
    suite, id_ = suite_of(request), request.path_params["id"]
    keep = yes_or_no(request, "keep", default=True)
    if not keep and (leftovers := await _leftovers(suite, id_)) is not None:
        await _drop(suite, leftovers)
        return json_answer(Cancelled(()))
    target = await _target(suite, id_)
    records, ids = suite.library.installs, target.own_ids()
    if target.install is not None:
        await suite.library.change(records.cancel, target.install.preset_id)
    else:
        await suite.library.change(records.cancel_file, *ids)
    await suite.stop_downloads(ids)
    if not keep:
        # After the record and the request to stop: otherwise someone would begin anew behind our back.
        await _drop(suite, _droppable(target))
        if target.install is not None:
            await suite.library.change(records.forget, target.install.preset_id)
    suite.downloads.touch(target.ids)
    return json_answer(Cancelled(tuple(ids)))


async def pause_download(request: Request) -> Response:
    suite = suite_of(request)
    target = await _target(suite, request.path_params["id"])
    ids, records = target.own_ids(), suite.library.installs
    if target.install is not None:
        await suite.library.change(records.pause, target.install.preset_id)
    else:
        await suite.library.change(records.pause_file, *ids)
    await suite.stop_downloads(ids)
    suite.downloads.touch(target.ids)
    return json_answer(Paused(tuple(ids)))


async def resume_download(request: Request) -> Response:
    suite = suite_of(request)
    target = await _target(suite, request.path_params["id"])
    if not target.view.schedule.is_paused:
        # Before the record: once it is there, a worker may begin, and must not find that it is to stop.
        await suite.allow_downloads(target.ids)
    return await _go_on(suite, target, suite.library.installs.resume, suite.library.installs.resume_file)


async def retry_download(request: Request) -> Response:
    suite = suite_of(request)
    target = await _target(suite, request.path_params["id"])
    return await _go_on(suite, target, suite.library.installs.retry, suite.library.installs.retry_file)


async def pause_all(request: Request) -> Response:
    suite = suite_of(request)
    await suite.library.change(suite.library.schedule.pause)
    view = (await suite.library.shelf()).view
    await suite.stop_downloads(_coming(view))
    return _scheduled(suite, view)


async def resume_all(request: Request) -> Response:
    suite = suite_of(request)
    view = (await suite.library.shelf()).view
    # As in resume_download.
    await suite.allow_downloads([id_ for id_ in _coming(view) if id_ not in view.holds])
    await suite.library.change(suite.library.schedule.resume)
    view = (await suite.library.shelf()).view
    ring(suite.settings.doorbell_socket)
    return _scheduled(suite, view)


async def order_downloads(request: Request) -> Response:
    suite, asked = suite_of(request), await read_body(request, Order)
    shelf = await suite.library.shelf()
    for id_ in asked.ids:
        if id_ not in shelf.view.installs and id_ not in shelf.catalogue.presets:
            raise NotFound(f"there is no preset '{id_[:100]}'")
    # Those that were put first before come after these.
    order = dict.fromkeys((*asked.ids, *shelf.view.schedule.preset_ids))
    coming = {id_ for id_, install in shelf.view.installs.items() if install.completed_at is None}
    await suite.library.change(suite.library.schedule.arrange, tuple(id_ for id_ in order if id_ in coming))
    ring(suite.settings.doorbell_socket)
    return _scheduled(suite, (await suite.library.shelf()).view)


async def _target(suite: Suite, id_: str) -> _Target:
    """By what is on the volume now. Raises NotFound."""
    suite.library.forget()
    shelf = await suite.library.shelf()
    install = shelf.view.installs.get(id_)
    if install is not None and install.completed_at is None:
        return _Target(install, install.files, shelf.view)
    if id_ in shelf.catalogue.presets:
        raise NotFound(f"preset '{id_}' is not being installed")
    return _Target(None, (await suite.library.artifact(id_),), shelf.view)


async def _go_on(
    suite: Suite, target: _Target, install: Callable[[str], None], file: Callable[[str], None]
) -> Response:
    """`install` or `file` lets the target go on."""
    if target.install is not None:
        await suite.library.change(install, target.install.preset_id)
    else:
        await suite.library.change(file, *target.ids)
    view = (await suite.library.shelf()).view
    coming = set(_coming(view))
    suite.downloads.touch(target.ids)
    ring(suite.settings.doorbell_socket)
    ids = tuple(id_ for id_ in target.ids if id_ in coming and id_ not in view.holds)
    return json_answer(Resumed(ids, view.schedule.is_paused))


def _coming(view: View) -> list[str]:
    """Ids of the files that active installs wait for."""
    return list(
        {
            file.id: None
            for install in view.installs.values()
            if install.is_active
            for file in install.files
            if not view.is_present(file)
        }
    )


def _scheduled(suite: Suite, view: View) -> Response:
    """Everyone is told in what order what comes now."""
    schedule: ScheduleMessage = schedule_message(view.schedule)
    suite.downloads.touch(_coming(view))
    suite.downloads.tell_schedule(schedule)
    return json_answer(schedule)


async def _leftovers(suite: Suite, id_: str) -> list[Artifact] | None:
    """What may be left of a preset that is not being installed; None when `id_` is something else."""
    suite.library.forget()
    shelf = await suite.library.shelf()
    install, preset = shelf.view.installs.get(id_), shelf.catalogue.presets.get(id_)
    if preset is None or (install is not None and install.completed_at is None):
        return None
    return installs.wanted_only_by(preset, shelf.view, paused_too=True)


def _droppable(target: _Target) -> list[Artifact]:
    """What a paused install has is not dropped with another that shares it."""
    if target.install is None:
        return list(target.artifacts)
    return installs.wanted_only_by(target.install, target.view, paused_too=True)


async def _drop(suite: Suite, artifacts: list[Artifact]) -> None:
    """Twice: a worker that was just about to begin did not know yet."""
    ids = [file.id for file in artifacts]
    for _ in range(2):
        await suite.let_go(ids)
        await suite.library.drop_partials(artifacts)
        await asyncio.sleep(LOOK_SECONDS)


_STEERED = (404, 503, 507)

ENDPOINTS = (
    Endpoint("GET", "/api/downloads/", list_downloads, "Installs that are not finished", {200: DownloadList}),
    Endpoint(
        "POST", "/api/downloads/pause", pause_all, "Pause all downloads", {200: ScheduleMessage}, errors=(503, 507)
    ),
    Endpoint(
        "POST", "/api/downloads/resume", resume_all, "Resume all downloads", {200: ScheduleMessage}, errors=(503,)
    ),
    Endpoint(
        "PUT",
        "/api/downloads/order",
        order_downloads,
        "What comes first",
        {200: ScheduleMessage},
        body=Order,
        errors=_STEERED,
    ),
    Endpoint(
        "DELETE",
        "/api/downloads/{id}",
        cancel_download,
        "Cancel a file or an install",
        {200: Cancelled},
        query=(Query("keep", bool, "false: what was fetched is dropped"),),
        errors=(404, 422, 503, 507),
    ),
    Endpoint(
        "POST",
        "/api/downloads/{id}/pause",
        pause_download,
        "Pause a file or an install",
        {200: Paused},
        errors=_STEERED,
    ),
    Endpoint(
        "POST",
        "/api/downloads/{id}/resume",
        resume_download,
        "Resume a file or an install",
        {200: Resumed},
        errors=_STEERED,
    ),
    Endpoint(
        "POST",
        "/api/downloads/{id}/retry",
        retry_download,
        "Try again what failed",
        {200: Resumed},
        errors=_STEERED,
    ),
)
