"""The buttons of the downloads, in Chromium: with keys alone, and under a thumb."""

import os
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from provision.packages import find
from tests.e2e.test_browser import FLAGS, sign_in
from tests.fakes.model_host import ModelHost
from tests.running import RunningSuite

PRESETS = ("ALPHA", "BETA")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find("chromium"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def busy(new_suite: Callable[..., RunningSuite], model_host: ModelHost) -> RunningSuite:
    """A suite in which two installs are under way, each for two minutes."""
    suite = new_suite().start()
    for id_ in PRESETS:
        url = model_host.add(f"/{id_}", os.urandom(500_000), throttle=4_000)
        file = {"url": url, "folder": "checkpoints", "name": f"{id_.lower()}.ckpt", "size_bytes": 500_000}
        suite.add_preset({"id": id_, "name": id_.title(), "kind": "image", "description": "Slow.", "files": [file]})
    with suite.client() as client:
        for id_ in PRESETS:
            assert client.post(f"/api/presets/{id_}/install").status_code == 202
    return suite


def order_on(page: Page) -> list[str | None]:
    return [row.get_attribute("data-id") for row in page.locator(".download").all()]


def test_downloads_are_steered_with_keys_alone(busy: RunningSuite, chromium: Browser) -> None:
    page = chromium.new_page(viewport={"width": 1440, "height": 900})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    sign_in(page, busy)
    assert order_on(page) == ["BETA", "ALPHA"]

    page.get_by_role("button", name="Move up Alpha").press("Enter")
    expect(page.locator(".download").first).to_have_attribute("data-id", "ALPHA")
    # Keys go on where they were.
    page.wait_for_function("() => document.activeElement.closest('.download')?.dataset.id === 'ALPHA'")

    page.get_by_role("button", name="Pause Alpha").press("Enter")
    expect(page.get_by_test_id("state-ALPHA")).to_have_text("paused")
    page.get_by_role("button", name="Resume Alpha").press("Enter")
    expect(page.get_by_role("button", name="Pause Alpha")).to_be_visible()

    page.get_by_role("button", name="Pause all").press("Enter")
    expect(page.get_by_text("All downloads are paused.")).to_be_visible()
    expect(page.get_by_test_id("state-BETA")).to_have_text("paused")
    page.get_by_role("button", name="Resume all").press("Enter")
    expect(page.get_by_role("button", name="Pause all")).to_be_visible()

    page.get_by_role("button", name="Cancel Beta").press("Enter")
    page.get_by_role("button", name="Discard Beta").press("Enter")
    page.locator("#confirm").get_by_role("button", name="Discard").press("Enter")
    expect(page.locator(".download")).to_have_count(1)
    assert problems == []
    page.close()


def test_downloads_are_steered_on_a_phone(busy: RunningSuite, chromium: Browser) -> None:
    context = chromium.new_context(viewport={"width": 360, "height": 780}, has_touch=True, is_mobile=True)
    page = context.new_page()
    sign_in(page, busy)
    pause = page.get_by_role("button", name="Pause Alpha")
    box = pause.bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) >= 36
    pause.tap()
    expect(page.get_by_test_id("state-ALPHA")).to_have_text("paused")
    page.get_by_role("button", name="Pause all").tap()
    expect(page.get_by_text("All downloads are paused.")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()
