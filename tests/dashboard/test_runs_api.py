"""Runs, and what they are given, over the API; without a ComfyUI."""

import asyncio
import threading
import time
from typing import Any

import httpx
import msgspec
import pytest

from services.comfyui import Prompt
from services.input_files import InputFile
from services.pod import pod_id
from services.runs import Content, Run, RunRecord, RunRecords
from services.runs.run import RunOutput
from services.settings import Settings
from services.workspace import Workspace
from tests.dashboard.conftest import ORIGIN, OpenDashboard
from tests.running import PASSWORD

PROMPT: Prompt = {"1": {"class_type": "EmptyImage", "inputs": {"width": 8}}}
GRAPH = {"nodes": [{"id": 1, "type": "EmptyImage"}], "links": []}


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["message"]


@pytest.fixture
async def remembered(open_dashboard: OpenDashboard, settings: Settings, workspace: Workspace) -> httpx.AsyncClient:
    """Signed in to a dashboard with runs of an earlier one: `old`, `new`, and `bare`, whose prompt was not kept."""
    records = RunRecords(workspace, pod_id(settings.state_dir))
    output = RunOutput("/outputs/a.png", "a.png", "image")
    for at, name in enumerate(("old", "new", "bare")):
        run = Run(name, name, "success", 1, submitted_at=float(at), workflow="mine" if at else None, outputs=(output,))
        content = msgspec.json.encode(Content(PROMPT, GRAPH if name == "new" else None))
        records.put(RunRecord(run, records.pod), None if name == "bare" else content)
    browser = await open_dashboard()
    browser.headers["Origin"] = ORIGIN
    assert (await browser.post("/login", data={"password": PASSWORD})).status_code == 303
    until = time.monotonic() + 20
    while not (await browser.get("/api/runs/")).json()["runs"]:
        assert time.monotonic() < until
        await asyncio.sleep(0.05)
    return browser


async def ids(browser: httpx.AsyncClient, **query: Any) -> tuple[list[str], int]:
    found = (await browser.get("/api/runs/", params=query)).json()
    return [run["prompt_id"] for run in found["runs"]], found["total"]


async def test_runs_of_an_earlier_dashboard_are_listed_page_by_page(remembered: httpx.AsyncClient) -> None:
    assert await ids(remembered) == (["bare", "new", "old"], 3)
    assert await ids(remembered, limit=1, offset=1) == (["new"], 3)
    assert await ids(remembered, workflow="mine") == (["bare", "new"], 2)
    assert (await remembered.get("/api/runs/", params={"limit": 0})).status_code == 422


async def test_what_a_run_ran_is_given_out(remembered: httpx.AsyncClient) -> None:
    assert (await remembered.get("/api/runs/new/prompt")).json() == PROMPT
    assert (await remembered.get("/api/runs/new/workflow")).json() == GRAPH
    assert (await remembered.get("/api/runs/old/workflow")).json() == PROMPT
    assert error_of(await remembered.get("/api/runs/bare/prompt")) == (404, "what run 'bare' ran was not kept")
    assert (await remembered.get("/api/runs/unknown/prompt")).status_code == 404


async def test_a_run_is_forgotten_for_good(
    remembered: httpx.AsyncClient, settings: Settings, workspace: Workspace
) -> None:
    assert (await remembered.delete("/api/runs/old")).json() == {"prompt_id": "old"}
    assert await ids(remembered) == (["bare", "new"], 2)
    assert (await remembered.delete("/api/runs/old")).status_code == 404
    until = time.monotonic() + 20
    while len(RunRecords(workspace, pod_id(settings.state_dir)).all()) != 2:
        assert time.monotonic() < until
        await asyncio.sleep(0.05)


UNFIT: tuple[tuple[dict[str, Any], int, str], ...] = (
    ({}, 422, "send exactly one of"),
    ({"prompt": PROMPT, "workflow": "x"}, 422, "got workflow, prompt"),
    ({"workflow": "nothing of the sort"}, 404, "nothing of the sort"),
    ({"output": "nothing.png"}, 404, "there is no output 'nothing.png'"),
    ({"output": "../../etc/passwd"}, 422, "dot"),
    ({"run": "unknown"}, 404, "there is no run 'unknown'"),
    ({"prompt": {}}, 422, "workflow"),
    ({"prompt": PROMPT, "count": 0}, 422, "count"),
    ({"prompt": PROMPT, "count": 101}, 422, "count"),
    ({"prompt": PROMPT, "seed": -1}, 422, "'seed' must be from 0"),
    ({"prompt": PROMPT, "seed": 2**64}, 422, "'seed' must be from 0"),
    ({"prompt": PROMPT, "seed": "any"}, 422, "seed"),
    ({"prompt": PROMPT, "inputs": []}, 422, "inputs"),
    ({"prompt": PROMPT, "unknown": 1}, 422, "unknown"),
    ({"prompt": PROMPT}, 503, "ComfyUI is not ready"),
)


async def test_what_cannot_be_run_is_told(browser: httpx.AsyncClient) -> None:
    for body, status, reason in UNFIT:
        answer = await browser.post("/api/comfyui/execute", json=body)
        assert answer.status_code == status, (body, answer.text)
        assert reason in error_of(answer)[1], body


async def test_a_file_is_run_by_a_query_that_makes_sense(browser: httpx.AsyncClient) -> None:
    picture = {"Content-Type": "image/png"}
    for query in ("seed=-1", "seed=many", f"seed={'9' * 50}", "count=0", "count=x"):
        answer = await browser.post(f"/api/comfyui/execute?{query}", content=b"x", headers=picture)
        assert answer.status_code == 422, query


async def test_a_file_without_a_workflow_says_so(browser: httpx.AsyncClient) -> None:
    picture = {"Content-Type": "image/png"}
    answer = await browser.post("/api/comfyui/execute", content=b"\x89PNG\r\n\x1a\n", headers=picture)
    assert answer.status_code == 422
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    assert (await browser.post("/api/comfyui/execute", content=b"x", headers=form)).status_code == 415


async def test_a_file_for_comfyui_is_put_into_its_folder(browser: httpx.AsyncClient, workspace: Workspace) -> None:
    for data, name in ((b"1", "ä b.png"), (b"2", "ä b (1).png"), (b"1", "ä b.png")):
        answer = await browser.post("/api/inputs/", params={"name": "ä b.png"}, content=data)
        assert (answer.status_code, answer.json()) == (201, {"name": name})
    assert {file.name for file in workspace.input.iterdir()} == {"ä b.png", "ä b (1).png"}


async def test_a_file_that_cannot_be_taken_leaves_nothing(browser: httpx.AsyncClient, workspace: Workspace) -> None:
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    cases: tuple[tuple[str, dict[str, str], bytes, int], ...] = (
        ("", {}, b"x", 422),
        ("../x.png", {}, b"x", 422),
        ("x.png", {}, b"", 422),
        ("x.png", form, b"x", 415),
        ("x.png", {"Content-Length": str(2**40)}, b"x", 413),
    )
    for name, headers, body, status in cases:
        answer = await browser.post("/api/inputs/", params={"name": name}, headers=headers, content=body)
        assert answer.status_code == status, (name, answer.text)
        assert list(workspace.input.iterdir()) == []


async def test_a_file_that_grows_too_large_is_not_kept(
    browser: httpx.AsyncClient, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.api.inputs.MAX_BYTES", 10)
    monkeypatch.setattr("dashboard.api.inputs.PIECE_BYTES", 4)

    async def pieces() -> Any:
        for _ in range(5):
            yield b"abc"

    answer = await browser.post("/api/inputs/", params={"name": "x.png"}, content=pieces())
    assert answer.status_code == 413
    assert list(workspace.input.iterdir()) == []


async def test_a_volume_that_hangs_is_told_of_and_the_file_is_cleared_away_later(
    browser: httpx.AsyncClient, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()

    def hang(_file: InputFile, _data: bytes) -> None:
        let_go.wait()

    def close_late(file: InputFile) -> None:
        let_go.wait()
        close(file)

    close = InputFile.close
    monkeypatch.setattr(InputFile, "write", hang)
    monkeypatch.setattr(InputFile, "close", close_late)
    monkeypatch.setattr("dashboard.volume.CALL_SECONDS", 0.3)
    try:
        answer = await asyncio.wait_for(browser.post("/api/inputs/", params={"name": "x.png"}, content=b"x"), 20)
        assert error_of(answer)[0] == 503
    finally:
        let_go.set()
    while list(workspace.input.iterdir()):
        await asyncio.sleep(0.01)


async def test_a_body_of_more_values_than_any_workflow_has_is_not_taken(browser: httpx.AsyncClient) -> None:
    body = b'{"prompt": {"a": [' + b",".join([b"{}"] * 300_000) + b"]}}"
    answer = await browser.post("/api/comfyui/execute", content=body, headers={"Content-Type": "application/json"})
    status, message = error_of(answer)
    assert (status, "values" in message) == (422, True)
