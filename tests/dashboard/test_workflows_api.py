"""`/api/workflows/`: kept, listed, opened; what each file carries is tests/services/workflows/test_document.py's."""

import asyncio
import io
import json
import time
from importlib import resources
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from PIL import Image, PngImagePlugin

from dashboard import received
from services.pod import pod_id
from services.runs import Run, RunRecord, RunRecords
from services.runs.run import RunOutput
from services.settings import Settings
from services.workspace import Workspace
from tests.dashboard.conftest import ORIGIN, OpenDashboard
from tests.fakes import carriers
from tests.running import PASSWORD

PROMPT: dict[str, Any] = {"1": {"class_type": "EmptyImage", "inputs": {"width": 8}}}
GRAPH: dict[str, Any] = {"nodes": [{"id": 1, "type": "EmptyImage", "title": "Größe"}], "links": [], "version": 0.4}
INDEX = Path(str(resources.files("comfyui_workflow_templates_json"))) / "templates" / "index.json"
OFFICIAL = [template for category in json.loads(INDEX.read_bytes()) for template in category["templates"]]


@pytest.fixture(autouse=True)
def _environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the processes that look at the volume."""
    monkeypatch.setenv("WORKSPACE", str(settings.workspace))
    monkeypatch.setenv("STATE_DIR", str(settings.state_dir))


def png(**texts: Any) -> bytes:
    information, data = PngImagePlugin.PngInfo(), io.BytesIO()
    for key, value in texts.items():
        information.add_text(key, json.dumps(value))
    Image.new("RGB", (400, 300), "teal").save(data, "PNG", pnginfo=information)
    return data.getvalue()


async def upload(browser: httpx.AsyncClient, name: str, data: bytes, **options: Any) -> httpx.Response:
    headers = {"Content-Type": options.pop("media_type", "application/octet-stream")}
    return await browser.post("/api/workflows/", params={"name": name, **options}, content=data, headers=headers)


async def listed(browser: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await browser.get("/api/workflows/", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["workflows"]
    return found


async def names(browser: httpx.AsyncClient, **query: Any) -> list[str]:
    return [one["name"] for one in await listed(browser, **query)]


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["message"]


# Kept


async def test_a_graph_and_a_prompt_are_kept_as_they_are(browser: httpx.AsyncClient) -> None:
    for name, workflow, format_ in (("graph", GRAPH, "graph"), ("prompt", PROMPT, "prompt")):
        answer = await browser.put(f"/api/workflows/{name}", json=workflow)
        assert (answer.status_code, answer.json()) == (201, {"name": name, "format": format_, "nodes": 1})
        assert (await browser.get(f"/api/workflows/{name}")).json() == workflow


CARRYING = {
    "JSON": json.dumps({"prompt": PROMPT, "extra_data": {"extra_pnginfo": {"workflow": GRAPH}}}).encode(),
    "PNG": png(workflow=GRAPH, prompt=PROMPT),
    "MP4": carriers.CARRIERS["MP4"]({"workflow": json.dumps(GRAPH), "prompt": json.dumps(PROMPT)}),
}


async def test_a_file_that_carries_a_workflow_is_kept_whatever_it_is_sent_as(browser: httpx.AsyncClient) -> None:
    for kind, data in CARRYING.items():
        for media_type in ("application/octet-stream", "image/png", "application/json"):
            answer = await upload(browser, f"dropped {kind}", data, media_type=media_type, overwrite=1)
            assert (answer.status_code, answer.json()["format"], answer.json()["nodes"]) == (201, "graph", 1)
            assert (await browser.get(f"/api/workflows/dropped {kind}")).json() == GRAPH


async def test_a_name_that_is_taken_is_said(browser: httpx.AsyncClient) -> None:
    assert (await upload(browser, "a", json.dumps(GRAPH).encode())).status_code == 201
    status, message = error_of(await upload(browser, "a", json.dumps(PROMPT).encode()))
    assert (status, "already" in message) == (409, True)
    assert (await browser.get("/api/workflows/a")).json() == GRAPH
    assert (await upload(browser, "a", json.dumps(PROMPT).encode(), overwrite=1)).status_code == 201
    assert (await browser.get("/api/workflows/a")).json() == PROMPT


async def test_a_file_without_a_workflow_is_refused_with_the_reason(browser: httpx.AsyncClient) -> None:
    status, message = error_of(await upload(browser, "a", png()))
    assert (status, "carries no workflow" in message) == (422, True)
    assert error_of(await upload(browser, "a", b""))[0] == 422
    assert await names(browser, source="user") == []


async def test_a_name_that_cannot_be_is_refused(browser: httpx.AsyncClient) -> None:
    for name in ("", "a/b", "../a", ".a", "a" * 300):
        assert error_of(await upload(browser, name, json.dumps(GRAPH).encode()))[0] == 422


async def test_a_form_is_refused_with_advice(browser: httpx.AsyncClient) -> None:
    answer = await browser.post("/api/workflows/", params={"name": "a"}, files={"file": ("a.json", b"{}")})
    status, message = error_of(answer)
    assert (status, "itself as the body" in message) == (415, True)


async def test_a_file_that_is_too_large_is_refused(browser: httpx.AsyncClient, settings: Settings) -> None:
    status, message = error_of(await upload(browser, "a", bytes(64 * 1024 * 1024 + 1)))
    assert (status, "64 MiB" in message) == (413, True)
    assert not list(settings.state_dir.rglob(".received-*"))


async def test_a_full_disk_of_the_container_is_told_of(
    browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/full").open("wb") as full:
        monkeypatch.setattr("dashboard.received.tempfile.NamedTemporaryFile", lambda **_options: full)
        status, message = error_of(await upload(browser, "a", json.dumps(GRAPH).encode()))
    assert (status, "STATE_DIR" in message) == (507, True)


async def test_what_a_dashboard_that_was_killed_had_received_goes(
    open_dashboard: OpenDashboard, settings: Settings
) -> None:
    left = received.folder_of(settings) / ".received-abc"
    left.write_bytes(b"x")
    await open_dashboard()
    assert not left.exists()


# Listed


async def test_ones_own_come_first_and_official_templates_last(
    browser: httpx.AsyncClient, workspace: Workspace
) -> None:
    await browser.put("/api/workflows/mine", json=GRAPH)
    workspace.workflow_file("templates", "ours").write_bytes(msgspec.json.encode(PROMPT))
    found = await listed(browser)
    assert len(found) == 2 + len(OFFICIAL)
    assert [(one["name"], one["source"], one["format"], one["nodes"], one["is_official"]) for one in found[:2]] == [
        ("mine", "user", "graph", 1, False),
        ("ours", "templates", "prompt", 1, False),
    ]
    assert found[0]["modified"] > 0
    most_used = max(OFFICIAL, key=lambda template: template.get("usage") or 0)
    assert (found[2]["name"], found[2]["title"]) == (most_used["name"], most_used["title"])
    assert (found[2]["source"], found[2]["is_official"], found[2]["nodes"]) == ("templates", True, None)
    assert found[2]["description"] == most_used["description"]


async def test_a_list_is_searched_and_turned_over(browser: httpx.AsyncClient) -> None:
    for name in ("Red cat", "red dog", "blue cat"):
        await browser.put(f"/api/workflows/{name}", json=GRAPH)
    assert await names(browser, source="user") == ["blue cat", "Red cat", "red dog"]
    assert await names(browser, source="user", search="CAT red") == ["Red cat"]
    assert await names(browser, source="user", limit=1, offset=1) == ["Red cat"]
    assert await names(browser, source="presets") == []
    everything = (await browser.get("/api/workflows/", params={"limit": 1})).json()
    assert (len(everything["workflows"]), everything["total"]) == (1, 3 + len(OFFICIAL))


async def test_a_bad_question_is_refused_by_name(browser: httpx.AsyncClient) -> None:
    for query in ("source=mine", "limit=0", "limit=2000", "offset=-1"):
        status, message = error_of(await browser.get(f"/api/workflows/?{query}"))
        assert (status, query.partition("=")[0] in message) == (422, True)


# Opened


async def test_an_official_template_is_opened_without_anything_installed(browser: httpx.AsyncClient) -> None:
    name = next(template["name"] for template in OFFICIAL if not template.get("usage"))
    answer = await browser.get(f"/api/workflows/{name}")
    assert answer.status_code == 200
    assert answer.json()["nodes"]
    assert await names(browser, source="user") == []


async def test_a_workflow_is_downloaded_under_its_name(browser: httpx.AsyncClient) -> None:
    await browser.put("/api/workflows/größe 1", json=GRAPH)
    answer = await browser.get("/api/workflows/größe 1", params={"download": 1})
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''gr%C3%B6%C3%9Fe%201.json"
    assert answer.json() == GRAPH


async def test_the_api_format_of_a_prompt_is_the_prompt(browser: httpx.AsyncClient) -> None:
    await browser.put("/api/workflows/a", json=PROMPT)
    assert (await browser.get("/api/workflows/a", params={"format": "api"})).json() == PROMPT
    assert error_of(await browser.get("/api/workflows/a", params={"format": "xml"}))[0] == 422


async def test_a_workflow_may_be_called_as_an_address_is(browser: httpx.AsyncClient) -> None:
    for name in ("check", "install", "inputs"):
        assert (await browser.put(f"/api/workflows/{name}", json=GRAPH)).status_code == 201
        assert (await browser.get(f"/api/workflows/{name}")).json() == GRAPH
        assert (await browser.delete(f"/api/workflows/{name}")).status_code == 200


async def test_a_file_that_was_broken_by_hand_says_so(browser: httpx.AsyncClient, workspace: Workspace) -> None:
    workspace.workflow_file("user", "broken").write_text('{"nodes": [')
    status, message = error_of(await browser.get("/api/workflows/broken"))
    assert (status, "not JSON" in message) == (422, True)


# Renamed, deleted


async def test_a_workflow_is_renamed(browser: httpx.AsyncClient) -> None:
    await browser.put("/api/workflows/a", json=GRAPH)
    await browser.put("/api/workflows/taken", json=PROMPT)
    answer = await browser.post("/api/workflows/a/rename", json={"name": "b"})
    assert (answer.status_code, answer.json()) == (200, {"name": "b", "format": "graph", "nodes": 1})
    assert await names(browser, source="user") == ["b", "taken"]
    assert error_of(await browser.post("/api/workflows/b/rename", json={"name": "taken"}))[0] == 409
    assert error_of(await browser.post("/api/workflows/b/rename", json={"name": "../b"}))[0] == 422
    assert error_of(await browser.post("/api/workflows/none/rename", json={"name": "c"}))[0] == 404


async def test_a_workflow_is_deleted(browser: httpx.AsyncClient) -> None:
    await browser.put("/api/workflows/a", json=GRAPH)
    assert (await browser.delete("/api/workflows/a")).json() == {"name": "a"}
    assert error_of(await browser.get("/api/workflows/a"))[0] == 404
    assert error_of(await browser.delete("/api/workflows/a"))[0] == 404


async def test_an_official_template_is_not_ones_own_to_change(browser: httpx.AsyncClient) -> None:
    name = OFFICIAL[0]["name"]
    assert error_of(await browser.delete(f"/api/workflows/{name}"))[0] == 404
    assert error_of(await browser.post(f"/api/workflows/{name}/rename", json={"name": "mine"}))[0] == 404


# Pictures


async def test_a_workflow_from_a_picture_shows_it(browser: httpx.AsyncClient) -> None:
    await upload(browser, "größe 1", png(workflow=GRAPH))
    (mine,) = await listed(browser, source="user")
    assert mine["thumbnail_url"].startswith("/api/workflows/gr%C3%B6%C3%9Fe%201/thumbnail?v=")
    answer = await browser.get(mine["thumbnail_url"])
    assert answer.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(answer.content)).convert("RGB").getpixel((5, 5)) == pytest.approx((0, 128, 128), abs=6)


async def test_a_picture_goes_along_and_ends_with_its_workflow(
    browser: httpx.AsyncClient, workspace: Workspace
) -> None:
    await upload(browser, "a", png(workflow=GRAPH))
    await browser.post("/api/workflows/a/rename", json={"name": "b"})
    assert (await browser.get("/api/workflows/b/thumbnail")).is_success
    await browser.delete("/api/workflows/b")
    assert list((workspace.workflows / "user").iterdir()) == []
    assert error_of(await browser.get("/api/workflows/b/thumbnail"))[0] == 404


async def test_a_workflow_without_a_picture_has_none(browser: httpx.AsyncClient) -> None:
    await upload(browser, "a", json.dumps(GRAPH).encode())
    (mine,) = await listed(browser, source="user")
    assert mine["thumbnail_url"] is None
    assert error_of(await browser.get("/api/workflows/a/thumbnail"))[0] == 404
    assert error_of(await browser.get(f"/api/workflows/{OFFICIAL[0]['name']}/thumbnail"))[0] == 404


async def test_a_workflow_shows_what_it_made_last(
    open_dashboard: OpenDashboard, settings: Settings, workspace: Workspace
) -> None:
    Image.new("RGB", (400, 300), "maroon").save(workspace.output / "images" / "ä 1.png")
    output = RunOutput("/outputs/images/%C3%A4%201.png", "ä 1.png", "image")
    workspace.workflow_file("user", "a").write_bytes(msgspec.json.encode(GRAPH))
    records = RunRecords(workspace, pod_id(settings.state_dir))
    for name, submitted_at in (("a", time.time() + 60), ("older", 1.0), (OFFICIAL[0]["name"], 1.0)):
        run = Run(f"run of {name}", name, "success", 1, submitted_at=submitted_at, workflow=name, outputs=(output,))
        records.put(RunRecord(run, records.pod), None)
    workspace.workflow_file("user", "older").write_bytes(msgspec.json.encode(GRAPH))
    browser = await signed_in(open_dashboard)
    for name in ("a", OFFICIAL[0]["name"]):
        (found,) = [one for one in await listed_when_runs_are_known(browser) if one["name"] == name]
        assert (await browser.get(found["thumbnail_url"])).headers["content-type"] == "image/webp"
    # Another workflow had its name then.
    assert [one["thumbnail_url"] for one in await listed(browser, search="older", source="user")] == [None]
    assert error_of(await browser.get("/api/workflows/older/thumbnail"))[0] == 404
    # It is taken along.
    assert (await browser.post("/api/workflows/a/rename", json={"name": "b"})).is_success
    assert (workspace.workflows / "user" / "b.webp").is_file()


async def signed_in(open_dashboard: OpenDashboard) -> httpx.AsyncClient:
    browser = await open_dashboard()
    browser.headers["Origin"] = ORIGIN
    assert (await browser.post("/login", data={"password": PASSWORD})).status_code == 303
    return browser


async def listed_when_runs_are_known(browser: httpx.AsyncClient) -> list[dict[str, Any]]:
    until = time.monotonic() + 20
    while not (await browser.get("/api/runs/")).json()["runs"]:
        assert time.monotonic() < until
        await asyncio.sleep(0.05)
    return await listed(browser)


async def test_who_is_not_signed_in_is_told_nothing(open_dashboard: OpenDashboard) -> None:
    stranger = await open_dashboard()
    assert (await stranger.get("/api/workflows/")).status_code == 401
    assert (await upload(stranger, "a", json.dumps(GRAPH).encode())).status_code in {401, 403}
