"""The suite as a person meets it: in Chromium, through nginx, with the real ComfyUI.

Pictures of every step are kept in SCREENSHOTS if that names a folder, for whoever wants to look.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from provision.packages import find
from tests.e2e.test_install_and_run import picture, tiny_preset, upload
from tests.fakes.model_host import ModelHost
from tests.running import PASSWORD, RunningSuite

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PRESET = "TINY_UPSCALER"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find("chromium"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """Fails the test when the page breaks its own security policy or a script throws."""
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.extend(_problem(message)))
    yield page
    assert problems == []


def _problem(message: ConsoleMessage) -> list[str]:
    known = ("FencedFrame", "status of 401", "status of 422", "status of 503")
    return [message.text] if message.type == "error" and not any(text in message.text for text in known) else []


def look(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def sign_in(page: Page, suite: RunningSuite, path: str = "/") -> None:
    page.goto(suite.address + path)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(suite.address + path)


def test_from_the_login_to_the_picture(suite: RunningSuite, page: Page, model_host: ModelHost) -> None:
    suite.add_preset(tiny_preset(model_host, throttle=20_000))
    with suite.client() as client:
        upload(suite, client, "in.png", picture(40, 30))
    page.goto(f"{suite.address}/presets")
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Wrong password")).to_be_visible()
    look(page, "1-wrong-password")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{suite.address}/presets")

    card = page.get_by_test_id(f"preset-{PRESET}")
    expect(card).to_be_visible()
    look(page, "2-presets")
    page.get_by_test_id(f"install-{PRESET}").click()
    bar = page.get_by_test_id(f"progress-{PRESET}")
    expect(bar).to_be_visible()
    first = _value(bar)
    page.wait_for_function(
        "([id, first]) => document.querySelector(`[data-testid='${id}']`).value > first",
        arg=[f"progress-{PRESET}", first],
    )
    look(page, "3-installing")
    model_host.behave("/tiny.safetensors", throttle=None)
    expect(page.get_by_test_id(f"state-{PRESET}")).to_contain_text("Installed", timeout=30_000)
    look(page, "4-installed")

    page.goto(f"{suite.address}/workflows")
    look(page, "5-workflows")
    page.get_by_test_id(f"run-{PRESET}").click()
    image = page.get_by_test_id("run-output").first
    expect(image).to_be_visible(timeout=60_000)
    page.wait_for_function("() => document.querySelector(\"[data-testid='run-output']\").naturalWidth === 160")
    look(page, "6-picture")
    page.goto(f"{suite.address}/")
    look(page, "7-home")
    for name in ("models", "settings"):
        page.goto(f"{suite.address}/{name}")
        look(page, f"8-{name}")
    with suite.client() as client:
        client.delete(f"/api/presets/{PRESET}")


def test_a_phone_shows_every_page_without_scrolling_sideways(suite: RunningSuite, chromium: Browser) -> None:
    context = chromium.new_context(viewport={"width": 360, "height": 780}, has_touch=True, is_mobile=True)
    page = context.new_page()
    sign_in(page, suite)
    for path in ("/", "/presets", "/presets/WAN_22_5B_TIV2", "/models", "/workflows", "/outputs", "/settings"):
        page.goto(suite.address + path)
        look(page, f"phone{path.replace('/', '-')}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
    context.close()


def test_comfyuis_own_front_end_works_behind_the_login(suite: RunningSuite, context: BrowserContext) -> None:
    page = context.new_page()
    sign_in(page, suite)
    frames: list[Any] = []

    def listen(opened: Page) -> None:
        opened.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(frame)))

    context.on("page", listen)
    with context.expect_page() as opened:
        page.get_by_role("link", name="Open ComfyUI").click()
    editor = opened.value
    editor.wait_for_function("() => window.app && window.app.graph", timeout=60_000)
    expect(editor.locator("canvas").first).to_be_visible()
    editor.wait_for_timeout(2000)
    look(editor, "9-comfyui")
    assert any('"status"' in str(frame) for frame in frames), "ComfyUI's socket said nothing"
    queued = editor.evaluate(
        """async () => {
            const prompt = {
                "1": {class_type: "EmptyImage", inputs: {width: 16, height: 16, batch_size: 1, color: 5}},
                "2": {class_type: "PreviewImage", inputs: {images: ["1", 0]}},
            };
            const answer = await fetch("/api/prompt", {
                method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({prompt}),
            });
            return answer.status;
        }"""
    )
    assert queued == 200
    editor.close()


def test_comfyuis_port_asks_for_the_login_itself(suite: RunningSuite, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(suite.comfyui_address)
    expect(page.get_by_label("Password")).to_be_visible()
    look(page, "10-comfyui-login")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{suite.comfyui_address}/**")
    page.wait_for_function("() => window.app !== undefined", timeout=60_000)


def _value(bar: Any) -> float:
    return float(bar.evaluate("element => element.value"))
