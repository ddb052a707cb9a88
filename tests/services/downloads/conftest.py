"""A fetcher, and who watches it."""

import pytest

from services.downloads import Fetcher, transfer
from services.workspace import Workspace
from tests.services.downloads.scene import Watcher, fetcher_for


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture
def fetcher(workspace: Workspace, watcher: Watcher) -> Fetcher:
    return fetcher_for(workspace, watcher)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "BACKOFF_SECONDS", 0.001)
