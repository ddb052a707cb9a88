import asyncio
import errno
import io
import json
import os
import subprocess
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psutil
import pytest
from msgspec.structs import replace
from PIL import Image, PngImagePlugin

from dashboard import output_desk
from dashboard.gallery import Gallery
from dashboard.output_desk import OutputDesk
from dashboard.thumbnails import Thumbnails
from dashboard.volume import Volume
from services.output_files import OutputFiles
from services.settings import Settings
from services.workspace import Workspace

PROMPT = {
    "3": {
        "class_type": "KSampler",
        "inputs": {"seed": 42, "steps": 20, "cfg": 7.5, "sampler_name": "euler", "positive": ["6", 0]},
    },
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a quiet lake", "clip": ["4", 1]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "lake.safetensors"}},
}
GRAPH = {"nodes": [{"id": 3, "type": "KSampler"}], "links": [], "version": 0.4}


@pytest.fixture(autouse=True)
def output(settings: Settings, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Path:
    # The volume's probe is a process of its own.
    monkeypatch.setenv("WORKSPACE", str(settings.workspace))
    monkeypatch.setenv("STATE_DIR", str(settings.state_dir))
    return workspace.output


def picture(file: Path, **carried: object) -> Path:
    about = PngImagePlugin.PngInfo()
    for name, value in carried.items():
        about.add_text(name, json.dumps(value))
    Image.new("RGB", (40, 30), "teal").save(file, pnginfo=about)
    return file


async def test_a_page_says_how_many_there_are_in_all(browser: httpx.AsyncClient, output: Path) -> None:
    for number in range(5):
        (output / f"{number}.png").write_bytes(b"x" * 10)
        os.utime(output / f"{number}.png", (number + 1, number + 1))
    found = (await browser.get("/api/outputs/?limit=2&offset=1")).json()
    assert [one["path"] for one in found["outputs"]] == ["3.png", "2.png"]
    assert (found["total"], found["total_bytes"]) == (5, 50)
    oldest = (await browser.get("/api/outputs/?limit=2&order=oldest")).json()
    assert [one["path"] for one in oldest["outputs"]] == ["0.png", "1.png"]


async def test_words_and_kinds_narrow_it_down(browser: httpx.AsyncClient, output: Path) -> None:
    for name in ("images/Lake_1.png", "images/tree.png", "videos/lake_2.mp4"):
        (output / name).write_bytes(b"x")
    assert (await browser.get("/api/outputs/?search=LAKE")).json()["total"] == 2
    assert (await browser.get("/api/outputs/?search=lake+images")).json()["total"] == 1
    assert (await browser.get("/api/outputs/?media=video")).json()["outputs"][0]["path"] == "videos/lake_2.mp4"
    assert (await browser.get("/api/outputs/?search=sea")).json()["outputs"] == []


@pytest.mark.parametrize("query", ["media=page", "order=best", "limit=0", "limit=100000", "offset=-1"])
async def test_a_question_that_makes_no_sense_is_refused(browser: httpx.AsyncClient, query: str) -> None:
    assert (await browser.get(f"/api/outputs/?{query}")).status_code == 422


async def test_an_unchanged_page_is_not_sent_again(browser: httpx.AsyncClient, output: Path) -> None:
    (output / "a.png").write_bytes(b"x")
    tag = (await browser.get("/api/outputs/")).headers["etag"]
    assert (await browser.get("/api/outputs/", headers={"If-None-Match": tag})).status_code == 304


async def test_only_pictures_have_a_small_one(browser: httpx.AsyncClient, output: Path) -> None:
    for name in ("a b.png", "b.mp4", "c.flac"):
        (output / name).write_bytes(b"x")
    found = {one["path"]: one["thumbnail_url"] for one in (await browser.get("/api/outputs/")).json()["outputs"]}
    assert found == {
        "a b.png": f"/thumbnails/a%20b.png?v={(output / 'a b.png').stat().st_mtime_ns}",
        "b.mp4": None,
        "c.flac": None,
    }


async def test_a_small_picture_is_kept_by_the_browser(browser: httpx.AsyncClient, output: Path) -> None:
    picture(output / "images" / "a b.png")
    (shown,) = (await browser.get("/api/outputs/")).json()["outputs"]
    answer = await browser.get(shown["thumbnail_url"])
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["x-accel-redirect"].startswith("/_suite/files/thumbnails/")
    assert "immutable" in answer.headers["cache-control"]
    older = await browser.get("/thumbnails/images/a%20b.png?v=1")
    assert older.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize("path", ["gone.png", "page.png", "images"])
async def test_what_has_no_small_picture_is_not_found(browser: httpx.AsyncClient, output: Path, path: str) -> None:
    (output / "page.png").write_bytes(b"<html>")
    assert (await browser.get(f"/thumbnails/{path}")).status_code == 404


async def test_metadata_says_how_a_picture_was_made(browser: httpx.AsyncClient, output: Path) -> None:
    picture(output / "a.png", prompt=PROMPT, workflow=GRAPH)
    found = (await browser.get("/api/outputs/metadata", params={"path": "a.png"})).json()
    assert (found["width"], found["height"], found["has_workflow"], found["run"]) == (40, 30, True, None)
    assert found["facts"] == [
        {"label": "Prompt", "value": "a quiet lake"},
        {"label": "Seed", "value": "42"},
        {"label": "Steps", "value": "20"},
        {"label": "CFG", "value": "7.5"},
        {"label": "Sampler", "value": "euler"},
        {"label": "Checkpoint", "value": "lake.safetensors"},
    ]


async def test_a_picture_without_a_workflow_has_its_size_at_least(browser: httpx.AsyncClient, output: Path) -> None:
    picture(output / "a.png")
    found = (await browser.get("/api/outputs/metadata", params={"path": "a.png"})).json()
    assert (found["width"], found["has_workflow"], found["facts"]) == (40, False, [])
    answer = await browser.get("/api/outputs/workflow", params={"path": "a.png"})
    assert (answer.status_code, "ComfyUI did not save it" in answer.text) == (404, True)


async def test_the_workflow_of_a_picture_is_the_graph(browser: httpx.AsyncClient, output: Path) -> None:
    picture(output / "a.png", prompt=PROMPT, workflow=GRAPH)
    assert (await browser.get("/api/outputs/workflow", params={"path": "a.png"})).json() == GRAPH
    picture(output / "b.png", prompt=PROMPT)
    assert (await browser.get("/api/outputs/workflow", params={"path": "b.png"})).json() == PROMPT


async def test_a_workflow_is_kept_under_a_name(browser: httpx.AsyncClient, output: Path, workspace: Workspace) -> None:
    picture(output / "a.png", prompt=PROMPT, workflow=GRAPH)
    kept = await browser.post("/api/outputs/keep", json={"path": "a.png", "name": "lake"})
    assert (kept.status_code, kept.json()) == (201, {"name": "lake", "format": "graph", "nodes": 1})
    assert json.loads((workspace.workflows / "user" / "lake.json").read_bytes()) == GRAPH
    assert (await browser.post("/api/outputs/keep", json={"path": "a.png", "name": "lake"})).status_code == 409
    assert (await browser.post("/api/outputs/keep", json={"path": "a.png", "name": "../lake"})).status_code == 422


ELSEWHERE = ("../config/secrets/token", "images/../../x.png", "/etc/passwd", "a\n.png", 'a"b\r\n.png\\', ".hidden.png")


@pytest.mark.parametrize("path", ELSEWHERE)
async def test_no_path_leads_out_of_the_outputs(browser: httpx.AsyncClient, output: Path, path: str) -> None:
    (output / "a.png").write_bytes(b"x")
    answers = [
        await browser.get("/api/outputs/metadata", params={"path": path}),
        await browser.get("/api/outputs/workflow", params={"path": path}),
        await browser.request("DELETE", "/api/outputs/", json={"paths": ["a.png", path]}),
        await browser.post("/api/outputs/zip", json={"paths": ["a.png", path]}),
        await browser.post("/api/outputs/keep", json={"path": path, "name": "stolen"}),
    ]
    assert [answer.status_code for answer in answers] == [422] * 5
    assert (output / "a.png").exists()


async def test_links_are_neither_read_nor_packed(browser: httpx.AsyncClient, output: Path, tmp_path: Path) -> None:
    (output / "link.png").symlink_to(picture(tmp_path / "secret.png", prompt=PROMPT))
    (output / "folder").symlink_to(tmp_path)
    for path in ("link.png", "folder/secret.png"):
        for what in ("metadata", "workflow"):
            assert (await browser.get(f"/api/outputs/{what}", params={"path": path})).status_code == 404
        assert (await browser.post("/api/outputs/zip", json={"paths": [path]})).status_code == 404
        assert (await browser.get(f"/thumbnails/{path}")).status_code in {404, 422}
        assert (await browser.get(f"/outputs/{path}")).status_code == 404
        assert (await browser.post("/api/workflows/inputs", json={"output": path})).status_code == 404


async def test_a_file_that_nobody_else_may_read_is_not_the_volumes_fault(
    browser: httpx.AsyncClient, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(output / "a.png")

    def closed(_files: OutputFiles, path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(OutputFiles, "open", closed)
    answer = await browser.get("/api/outputs/metadata", params={"path": "a.png"})
    assert (answer.status_code, "may not be read" in answer.text) == (404, True)


async def test_several_are_deleted_at_once(browser: httpx.AsyncClient, output: Path, workspace: Workspace) -> None:
    picture(output / "a.png")
    (output / "videos" / "b.mp4").write_bytes(b"x" * 100)
    size = (output / "a.png").stat().st_size
    await browser.get("/thumbnails/a.png")
    assert list(workspace.thumbnails.rglob("*.webp"))
    asked = {"paths": ["a.png", "videos/b.mp4", "gone.png", "a.png", "images"]}
    answer = (await browser.request("DELETE", "/api/outputs/", json=asked)).json()
    assert answer == {
        "removed": ["a.png", "videos/b.mp4"],
        "not_found": ["gone.png", "images"],
        "failed": [],
        "freed_bytes": size + 100,
    }
    assert (await browser.get("/api/outputs/")).json()["total"] == 0
    assert list(workspace.thumbnails.rglob("*.webp")) == []


async def test_a_zip_holds_the_files_with_their_folders(
    browser: httpx.AsyncClient, output: Path, tmp_path: Path
) -> None:
    picture(output / "images" / "é ü.png")
    (output / "videos" / "b.mp4").write_bytes(os.urandom(3_000_000))
    answer = await browser.post("/api/outputs/zip", json={"paths": ["images/é ü.png", "videos/b.mp4", "gone.png"]})
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"].startswith('attachment; filename="outputs-')
    assert int(answer.headers["content-length"]) == len(answer.content)
    (tmp_path / "outputs.zip").write_bytes(answer.content)
    assert subprocess.run(["unzip", "-tq", tmp_path / "outputs.zip"], capture_output=True).returncode == 0
    with zipfile.ZipFile(io.BytesIO(answer.content)) as opened:
        assert opened.testzip() is None
        assert {name: opened.read(name) for name in opened.namelist()} == {
            name: (output / name).read_bytes() for name in ("images/é ü.png", "videos/b.mp4")
        }


async def test_a_form_is_as_good_as_json(browser: httpx.AsyncClient, output: Path) -> None:
    for name in ("a b.png", "ü.png"):
        (output / name).write_bytes(b"x")
    answer = await browser.post("/api/outputs/zip", data={"path": ["a b.png", "ü.png"]})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as opened:
        assert opened.namelist() == ["a b.png", "ü.png"]


async def test_a_zip_of_nothing_is_not_made(browser: httpx.AsyncClient) -> None:
    assert (await browser.post("/api/outputs/zip", json={"paths": ["gone.png"]})).status_code == 404
    assert (await browser.post("/api/outputs/zip", json={"paths": []})).status_code == 422
    assert (await browser.post("/api/outputs/zip", data={"other": "x"})).status_code == 422
    too_many = {"path": ["a.png"] * 5001}
    assert (await browser.post("/api/outputs/zip", data=too_many)).status_code == 422
    assert (await browser.post("/api/outputs/zip", content=b"x")).status_code == 415


@pytest.fixture
async def desk(settings: Settings, workspace: Workspace) -> AsyncIterator[OutputDesk]:
    volume = Volume(settings)
    yield OutputDesk(workspace, volume, Gallery(volume, workspace.output), Thumbnails(settings, volume))
    volume.close()


async def test_whoever_leaves_half_way_stops_the_reading(desk: OutputDesk, output: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (output / name).write_bytes(bytes(5_000_000))
    archive = await desk.archive(["a.mp4", "b.mp4"])
    assert len(await anext(archive.pieces)) < 100
    assert open_files(output) == {"a.mp4"}
    await archive.pieces.aclose()
    assert open_files(output) == set()


def open_files(folder: Path) -> set[str]:
    opened = (Path(file.path) for file in psutil.Process().open_files())
    return {file.name for file in opened if file.is_relative_to(folder)}


async def test_a_zip_waits_for_a_volume_that_is_away_for_a_moment(
    desk: OutputDesk, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_desk, "RETRY_SECONDS", 0.01)
    (output / "a.png").write_bytes(b"x")
    archive, known = await desk.archive(["a.png"]), desk._volume.report
    content = await anext(archive.pieces)
    desk._volume.report = replace(known, state="hung")
    asyncio.get_running_loop().call_later(0.1, setattr, desk._volume, "report", known)
    content += b"".join([piece async for piece in archive.pieces])
    assert len(content) == archive.length


async def test_a_zip_ends_early_when_the_volume_stays_away(
    desk: OutputDesk, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_desk, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(output_desk, "RETRY_SECONDS", 0.01)
    (output / "a.png").write_bytes(b"x")
    archive = await desk.archive(["a.png"])
    desk._volume.report = replace(desk._volume.report, state="hung")
    assert [piece async for piece in archive.pieces] == []


async def test_a_file_that_vanishes_on_the_way_is_left_out(desk: OutputDesk, output: Path) -> None:
    for name in ("a.png", "b.png"):
        (output / name).write_bytes(b"x")
    archive = await desk.archive(["a.png", "b.png"])
    (output / "b.png").unlink()
    content = b"".join([piece async for piece in archive.pieces])
    assert len(content) == archive.length
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        assert opened.namelist() == ["a.png"]


async def test_a_volume_that_goes_away_takes_nothing_out_of_the_gallery(
    browser: httpx.AsyncClient, output: Path
) -> None:
    picture(output / "a.png")
    assert (await browser.get("/api/outputs/")).json()["total"] == 1
    output.rename(output.with_name("elsewhere"))
    await asyncio.sleep(0.2)
    assert (await browser.get("/api/outputs/")).json()["total"] == 1
    assert (await browser.request("DELETE", "/api/outputs/", json={"paths": ["a.png"]})).status_code == 503
