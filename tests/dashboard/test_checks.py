"""What the API answers when a check cannot be made. What it finds is in tests/e2e/test_missing_models.py."""

from typing import Any

import httpx
import pytest

PROMPT = {"1": {"class_type": "A", "inputs": {}}}


SOURCES: tuple[tuple[dict[str, Any], int, str], ...] = (
    ({"workflow": "nope"}, 404, "nope"),
    ({"workflow": "a", "prompt": PROMPT}, 422, "exactly one"),
    ({}, 422, "exactly one"),
    ({"prompt": {"1": 2}}, 422, "node '1'"),
    ({"output": "../../etc/passwd"}, 422, "passwd"),
    ({"run": "nope"}, 404, "nope"),
    ({"more": 1}, 422, "more"),
    ({"prompt": PROMPT}, 503, "ComfyUI is not ready"),
)


@pytest.mark.parametrize("action", ["check", "install"])
async def test_what_cannot_be_checked_is_told(action: str, browser: httpx.AsyncClient) -> None:
    for source, status, words in SOURCES:
        answer = await browser.post(f"/api/workflows/{action}", json=source)
        assert (answer.status_code, words in answer.json()["error"]["message"]) == (status, True), answer.text


async def test_a_saved_workflow_is_checked_only_by_a_comfyui_that_is_ready(browser: httpx.AsyncClient) -> None:
    assert (await browser.put("/api/workflows/mine", json=PROMPT)).status_code == 201
    for method, path in (("GET", "check"), ("POST", "install")):
        answer = await browser.request(method, f"/api/workflows/mine/{path}")
        assert (answer.status_code, answer.json()["error"]["type"]) == (503, "comfyui_unavailable")
        assert (await browser.request(method, f"/api/workflows/nope/{path}")).status_code == 404


async def test_replacements_that_are_none_are_refused(browser: httpx.AsyncClient) -> None:
    wrong: tuple[Any, ...] = ([], [{"node_id": "1", "input": "a", "from": "x"}], "all", [{}] * 101)
    for replacements in wrong:
        answer = await browser.post("/api/workflows/mine/use", json={"replacements": replacements})
        assert answer.status_code == 422
