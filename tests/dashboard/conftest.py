"""The dashboard in this process: without nginx, supervisord and ComfyUI, and so within a second."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from dashboard.app import create_app
from services.settings import Secret, Settings
from tests.running import PASSWORD

ORIGIN = "http://localhost"

OpenDashboard = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def open_dashboard(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OpenDashboard]:
    """Opens dashboards with the settings given as fields; nobody is signed in."""
    # For the probe of the volume, which is a process of its own.
    monkeypatch.setenv("WORKSPACE", str(settings.workspace))
    monkeypatch.setenv("STATE_DIR", str(settings.state_dir))
    (settings.state_dir / "dashboard").mkdir()
    async with contextlib.AsyncExitStack() as opened:

        async def open_(**fields: object) -> httpx.AsyncClient:
            given = {"dashboard_password": Secret(PASSWORD), **fields}
            app = create_app(replace(settings, **given))  # type: ignore[arg-type]
            state = await opened.enter_async_context(app.router.lifespan_context(app))

            async def served(scope: Scope, receive: Receive, send: Send) -> None:
                await app({**scope, "state": dict(state or {})}, receive, send)

            transport = httpx.ASGITransport(served, raise_app_exceptions=False)
            return await opened.enter_async_context(httpx.AsyncClient(transport=transport, base_url=ORIGIN))

        yield open_


@pytest.fixture
async def stranger(open_dashboard: OpenDashboard) -> httpx.AsyncClient:
    """Nobody signed in."""
    return await open_dashboard()


@pytest.fixture
async def browser(stranger: httpx.AsyncClient) -> httpx.AsyncClient:
    """Signed in, on the dashboard's own pages."""
    stranger.headers["Origin"] = ORIGIN
    assert (await stranger.post("/login", data={"password": PASSWORD})).status_code == 303
    return stranger
