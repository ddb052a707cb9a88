from collections.abc import Iterator

import pytest

from tests.running import RunningSuite


@pytest.fixture(scope="module")
def small_suite() -> Iterator[RunningSuite]:
    """Without ComfyUI."""
    running = RunningSuite(COMFYUI_PYTHON="/nonexistent/python")
    try:
        yield running.start()
    finally:
        running.remove()
