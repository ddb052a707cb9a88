from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.running import RunningSuite


@pytest.fixture(scope="session", autouse=True)
def _patience() -> None:
    """A browser on a busy machine takes longer than the five seconds that Playwright gives it."""
    expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def small_suite() -> Iterator[RunningSuite]:
    """Without ComfyUI."""
    running = RunningSuite(COMFYUI_PYTHON="/nonexistent/python")
    try:
        yield running.start()
    finally:
        running.remove()
