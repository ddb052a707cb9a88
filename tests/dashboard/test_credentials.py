"""Tokens for the hubs, through the API and on the settings page."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from services.settings import Secret, Settings
from services.workspace import Workspace
from tests.dashboard.conftest import ORIGIN, OpenDashboard
from tests.fakes.internet import Internet
from tests.running import PASSWORD

Open = Callable[..., Awaitable[httpx.AsyncClient]]
NOTHING = {"set": False, "source": None, "state": "not_checked", "account": None, "message": ""}


@pytest.fixture
def open_(
    open_dashboard: OpenDashboard, internet: Internet, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Open:
    """Signed in, where the internet is the imitations."""
    # The volume's probe is a process of its own.
    monkeypatch.setenv("WORKSPACE", str(settings.workspace))

    async def made(**fields: object) -> httpx.AsyncClient:
        proxy = Secret(f"http://127.0.0.1:{internet.proxy.port}")
        client = await open_dashboard(https_proxy=proxy, **fields)
        client.headers["Origin"] = ORIGIN
        assert (await client.post("/login", data={"password": PASSWORD})).status_code == 303
        return client

    return made


@pytest.fixture
async def dashboard(open_: Open) -> httpx.AsyncClient:
    return await open_()


async def listed(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    answer = await client.get("/api/credentials/")
    assert answer.status_code == 200
    return {entry.pop("name"): entry for entry in answer.json()["credentials"]}


async def save(client: httpx.AsyncClient, hub: str, token: str) -> httpx.Response:
    return await client.put(f"/api/credentials/{hub}", json={"token": token})


async def test_at_first_there_is_no_token(dashboard: httpx.AsyncClient, internet: Internet) -> None:
    assert await listed(dashboard) == {"huggingface": NOTHING, "civitai": NOTHING}
    assert internet.hub.requests == []


@pytest.mark.parametrize("hub", ["huggingface", "civitai"])
async def test_a_token_is_saved_with_the_account_it_belongs_to(
    hub: str, dashboard: httpx.AsyncClient, settings: Settings
) -> None:
    answer = await save(dashboard, hub, " knows ")
    saved = {"set": True, "source": "settings", "state": "valid", "account": "someone", "message": ""}
    assert (answer.status_code, answer.json()) == (200, {"name": hub, **saved})
    assert (await listed(dashboard))[hub] == saved
    file = Workspace(settings.workspace).secrets / f"{hub}.token"
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("knows\n", 0o600)


async def test_a_token_that_the_hub_refuses_is_not_saved(dashboard: httpx.AsyncClient) -> None:
    answer = await save(dashboard, "civitai", "canary")
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "invalid")
    assert "nothing was saved" in answer.json()["error"]["message"]
    assert (await listed(dashboard))["civitai"] == NOTHING


async def test_a_token_that_the_hub_refuses_leaves_the_saved_one(dashboard: httpx.AsyncClient) -> None:
    before = (await save(dashboard, "civitai", "knows")).json()
    assert (await save(dashboard, "civitai", "canary")).status_code == 422
    assert before == {"name": "civitai", **(await listed(dashboard))["civitai"]}


async def test_a_token_that_cannot_be_checked_is_saved_all_the_same(
    dashboard: httpx.AsyncClient, internet: Internet
) -> None:
    internet.hub.behave("/api/v1/me", status=503)
    answer = await save(dashboard, "civitai", "knows")
    assert (answer.status_code, answer.json()["state"], answer.json()["set"]) == (200, "not_checked", True)
    assert "HTTP 503" in answer.json()["message"]


async def test_a_saved_token_is_checked_when_asked(dashboard: httpx.AsyncClient, internet: Internet) -> None:
    internet.hub.behave("/api/v1/me", status=503)
    await save(dashboard, "civitai", "knows")
    internet.hub.behave("/api/v1/me", status=None)
    answer = await dashboard.post("/api/credentials/civitai/check")
    assert (answer.status_code, answer.json()["state"], answer.json()["account"]) == (200, "valid", "someone")


async def test_a_token_that_was_revoked_stays_and_says_so(dashboard: httpx.AsyncClient, internet: Internet) -> None:
    await save(dashboard, "huggingface", "lacks")
    del internet.hugging_face.tokens["lacks"]
    answer = await dashboard.post("/api/credentials/huggingface/check")
    assert (answer.status_code, answer.json()["state"], answer.json()["set"]) == (200, "refused", True)


async def test_the_environments_token_is_checked_and_comes_back(open_: Open) -> None:
    client = await open_(hf_token=Secret("lacks"))
    assert (await listed(client))["huggingface"]["source"] == "environment"
    assert (await client.post("/api/credentials/huggingface/check")).json()["state"] == "valid"
    assert (await save(client, "huggingface", "knows")).json()["source"] == "settings"
    answer = await client.delete("/api/credentials/huggingface")
    assert (answer.status_code, answer.json()["source"]) == (200, "environment")


async def test_without_a_token_there_is_nothing_to_check(dashboard: httpx.AsyncClient) -> None:
    answer = await dashboard.post("/api/credentials/civitai/check")
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found")


@pytest.mark.parametrize(("method", "path"), [("PUT", ""), ("POST", "/check"), ("DELETE", "")])
async def test_no_other_hub_has_a_token(method: str, path: str, dashboard: httpx.AsyncClient) -> None:
    answer = await dashboard.request(method, f"/api/credentials/github{path}", json={"token": "canary"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found")


@pytest.mark.parametrize("token", ["", " ", "canary canary", "can\r\nary", "c\u00e4nary", "canary" * 1000])
async def test_what_can_be_no_token_is_refused_without_asking(
    token: str, dashboard: httpx.AsyncClient, internet: Internet
) -> None:
    answer = await save(dashboard, "civitai", token)
    assert answer.status_code == 422
    assert "nary" not in answer.text
    assert internet.hub.requests == []


@pytest.mark.parametrize("body", [{}, {"token": 5}, {"token": "canary", "more": 1}, ["canary"]])
async def test_a_body_that_does_not_fit_is_refused_without_being_repeated(
    body: Any, dashboard: httpx.AsyncClient
) -> None:
    answer = await dashboard.put("/api/credentials/civitai", json=body)
    assert answer.status_code == 422
    assert "canary" not in answer.text


async def test_nobody_who_is_not_signed_in_learns_anything(open_dashboard: OpenDashboard) -> None:
    stranger = await open_dashboard()
    assert (await stranger.get("/api/credentials/")).status_code == 401
    assert (await save(stranger, "civitai", "knows")).status_code in {401, 403}


async def test_the_settings_page_shows_whose_the_tokens_are(dashboard: httpx.AsyncClient) -> None:
    await save(dashboard, "civitai", "knows")
    page = (await dashboard.get("/settings")).text
    assert "belongs to someone" in page
    assert "No token." in page
    assert 'type="password" name="token"' in page


async def test_no_answer_and_no_page_holds_a_token(
    open_: Open, internet: Internet, caplog: pytest.LogCaptureFixture
) -> None:
    internet.civitai.tokens |= {"canary"}
    client = await open_(hf_token=Secret("canary"))
    answers = [
        await save(client, "civitai", "canary"),
        await client.post("/api/credentials/civitai/check"),
        await client.post("/api/credentials/huggingface/check"),
        await client.get("/api/credentials/"),
        await client.get("/settings"),
        await client.delete("/api/credentials/civitai"),
    ]
    assert [answer.status_code for answer in answers] == [200] * 6
    assert [answer.text for answer in answers if "canary" in answer.text] == []
    assert "canary" not in caplog.text
