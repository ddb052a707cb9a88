"""What happens to errors, and who gets to see them how."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from dashboard import gate
from dashboard.gate import OPEN_PATHS
from services.settings import Secret, Settings
from tests.dashboard.conftest import OpenDashboard

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
FRAME = 'id="shell"'


@pytest.mark.parametrize("accept", ["text/html", "application/json", "*/*"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", sorted(OPEN_PATHS))
async def test_no_open_path_shows_the_dashboard_to_a_stranger(
    path: str, method: str, accept: str, stranger: httpx.AsyncClient, settings: Settings
) -> None:
    answer = await stranger.request(method, path, headers={"Accept": accept})
    assert answer.status_code < 500 or path == "/readyz"
    assert FRAME not in answer.text
    assert str(settings.workspace) not in answer.text


async def test_a_stranger_is_told_what_went_wrong(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.patch("/login", headers={"Accept": "text/html"})
    assert answer.status_code == 405
    assert "This address knows other methods" in answer.text
    assert "POST" in answer.headers["allow"] or "GET" in answer.headers["allow"]


async def test_a_login_without_a_password_to_compare_with_shows_no_dashboard(open_dashboard: OpenDashboard) -> None:
    client = await open_dashboard(dashboard_password=Secret(""))
    headers = {"Accept": "text/html", "Origin": "http://localhost"}
    answer = await client.post("/login", data={"password": "x"}, headers=headers)
    assert answer.status_code == 503
    assert "holds no password" in answer.text
    assert FRAME not in answer.text


async def test_who_is_signed_in_finds_a_missing_page_inside_the_dashboard(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/nothing", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert FRAME in answer.text


@pytest.mark.parametrize("path", ["/api/models/?limit=", "/api/models/?offset=", "/models?offset="])
@pytest.mark.parametrize("number", ["9" * 5_000, "²", "٣", "-1", "1.0", "", " 1"])
async def test_a_number_that_is_none_is_refused_by_name(path: str, number: str, browser: httpx.AsyncClient) -> None:
    answer = await browser.get(path + number)
    assert answer.status_code == 422
    assert "must be a whole number" in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["dashboard", "nginx"])
async def test_what_carries_the_request_is_not_restarted_by_it(name: str, browser: httpx.AsyncClient) -> None:
    answer = await browser.post(f"/api/system/processes/{name}/restart", json={})
    assert answer.status_code == 409
    assert f"supervisorctl restart suite:{name}" in answer.json()["error"]["message"]


ELSEWHERE = "https://tool.example"


async def test_an_origin_that_the_settings_name_may_read_answers(open_dashboard: OpenDashboard) -> None:
    client = await open_dashboard(auth=False, cors_origins=(ELSEWHERE,))
    answer = await client.get("/api/presets/", headers={"Origin": ELSEWHERE, "Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ELSEWHERE


async def test_an_origin_that_the_settings_name_may_send_a_token(open_dashboard: OpenDashboard) -> None:
    client = await open_dashboard(cors_origins=(ELSEWHERE,))
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answer = await client.options("/api/presets/SD15/install", headers={"Origin": ELSEWHERE, **asked})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ELSEWHERE
    assert "authorization" in answer.headers["access-control-allow-headers"]


async def test_an_origin_that_the_settings_name_gets_no_further_without_a_token(open_dashboard: OpenDashboard) -> None:
    client = await open_dashboard(cors_origins=(ELSEWHERE,))
    answer = await client.post("/api/presets/SD15/install", headers={"Origin": ELSEWHERE})
    assert answer.status_code == 401


async def test_an_origin_that_the_settings_do_not_name_reads_nothing(open_dashboard: OpenDashboard) -> None:
    client = await open_dashboard(auth=False, cors_origins=(ELSEWHERE,))
    answer = await client.get("/api/presets/", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


async def test_an_answer_waits_for_the_end_of_what_is_sent(stranger: httpx.AsyncClient) -> None:
    # The server ends the connection behind an answer, and whoever is still sending hears nothing of it.
    sent = []

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(3):
            sent.append(number)
            yield b"x"

    answer = await stranger.put("/api/uploads/x/chunks/0", content=pieces())
    assert answer.status_code == 401
    assert sent == [0, 1, 2]


async def test_an_answer_does_not_wait_for_ever(stranger: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "BODY_SECONDS", 0.05)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    assert (await stranger.put("/api/uploads/x/chunks/0", content=pieces())).status_code == 401
