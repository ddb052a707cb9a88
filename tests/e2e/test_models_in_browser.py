"""Sending and checking model files, as a person meets it: in Chromium, through nginx."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from services.uploads import CHUNK_BYTES
from tests.e2e.test_browser import chromium, context  # noqa: F401 (fixtures)
from tests.running import PASSWORD, RunningSuite

DATA = os.urandom(CHUNK_BYTES + 1000)


@pytest.fixture
def models(small_suite: RunningSuite, context: BrowserContext) -> Iterator[Page]:  # noqa: F811
    """The page of models. Fails the test when it breaks its own security policy or a script throws."""
    page, problems = context.new_page(), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if "Content Security Policy" in said.text else None)
    page.goto(f"{small_suite.address}/models")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/models")
    yield page
    assert problems == []


@pytest.fixture
def sent_file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    file = tmp_path / f"{hashlib.sha256(request.node.name.encode()).hexdigest()[:8]}.ckpt"
    file.write_bytes(DATA)
    return file


def choose(models: Page, file: Path) -> None:
    models.get_by_test_id("upload").click()
    models.get_by_label("Folder").last.select_option("loras")
    models.get_by_label("Files", exact=True).set_input_files(file)


def start(models: Page) -> None:
    models.locator("#upload").get_by_role("button", name="Upload", exact=True).click()


def test_a_file_is_sent_under_another_name(small_suite: RunningSuite, models: Page, sent_file: Path) -> None:
    choose(models, sent_file)
    models.get_by_label("Name of the model").fill("renamed.ckpt")
    if folder := os.environ.get("SCREENSHOTS"):
        models.screenshot(path=f"{folder}/upload.png")
    start(models)
    expect(models.get_by_text("in loras", exact=True)).to_be_visible(timeout=30_000)
    assert (small_suite.workspace / "models" / "loras" / "renamed.ckpt").read_bytes() == DATA
    models.locator("#upload").get_by_role("button", name="Close").click()
    expect(models.get_by_title("renamed.ckpt")).to_be_visible()


def test_a_page_that_was_loaded_anew_goes_on_where_it_was(
    small_suite: RunningSuite, models: Page, sent_file: Path
) -> None:
    models.route("**/chunks/1", lambda route: route.abort())
    choose(models, sent_file)
    start(models)
    record = small_suite.workspace / "config" / "uploads"
    small_suite.wait_for(lambda: any(b"0,\n" in file.read_bytes() for file in record.glob("*.json")), "a chunk", 60)
    sent: list[str] = []

    def count(route: Route) -> None:
        sent.append(route.request.url.rpartition("/")[2])
        route.continue_()

    models.on("dialog", lambda dialog: dialog.accept())
    models.reload()
    models.unroute("**/chunks/1")
    models.route("**/chunks/*", count)
    choose(models, sent_file)
    start(models)
    expect(models.get_by_text("in loras", exact=True)).to_be_visible(timeout=30_000)
    assert sent == ["1"]
    assert (small_suite.workspace / "models" / "loras" / sent_file.name).read_bytes() == DATA


def test_a_file_that_is_there_is_refused_with_the_reason(
    small_suite: RunningSuite, models: Page, sent_file: Path
) -> None:
    (small_suite.workspace / "models" / "loras" / sent_file.name).write_bytes(b"another")
    choose(models, sent_file)
    start(models)
    expect(models.locator("#upload")).to_contain_text("lies in loras/ already")


def test_a_sending_is_paused_and_cancelled(small_suite: RunningSuite, models: Page, sent_file: Path) -> None:
    models.route("**/chunks/1", lambda route: route.abort())
    choose(models, sent_file)
    start(models)
    dialog = models.locator("#upload")
    dialog.get_by_role("button", name="Pause").click()
    expect(dialog.get_by_text("paused", exact=True)).to_be_visible()
    dialog.get_by_role("button", name="Remove").click()
    expect(dialog.get_by_label("Name of the model")).to_have_count(0)
    assert not (small_suite.workspace / "models" / "loras" / f"{sent_file.name}.upload").exists()


def test_files_that_were_copied_in_are_checked(small_suite: RunningSuite, models: Page) -> None:
    (small_suite.workspace / "models" / "vae" / "by-hand.ckpt").write_bytes(DATA)
    models.reload()
    models.get_by_role("button", name=re.compile(r"^Check .*files?$")).click()
    expect(models.get_by_text("Every file is checked.")).to_be_visible()
    with small_suite.client() as client:
        listed = {model["name"]: model for model in client.get("/api/models/").json()["models"]}
    assert listed["by-hand.ckpt"]["verified"]["sha256"] == hashlib.sha256(DATA).hexdigest()
