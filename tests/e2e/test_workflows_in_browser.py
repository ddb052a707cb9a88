"""A workflow as a person meets it: dropped, completed, run, looked at; and what the page says when a part is killed."""

import json
import os
import re
import shutil
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e.test_browser import chromium, context, look, sign_in  # noqa: F401 (fixtures)
from tests.e2e.test_install_and_run import MODEL, WORKFLOW, picture, slow_branch, upload
from tests.fakes.internet import Internet
from tests.running import RunningSuite

MODEL_NAME = "tiny_esrgan_x4.safetensors"
MODEL_URL = f"https://huggingface.co/tests/upscaler/resolve/main/{MODEL_NAME}"
# As ComfyUI's editor saves it.
GRAPH: dict[str, Any] = {
    "version": 0.4,
    "last_node_id": 4,
    "last_link_id": 3,
    "nodes": [
        {
            "id": 1,
            "type": "LoadImage",
            "mode": 0,
            "inputs": [],
            "outputs": [
                {"name": "IMAGE", "type": "IMAGE", "links": [2]},
                {"name": "MASK", "type": "MASK", "links": None},
            ],
            "widgets_values": ["in.png", "image"],
        },
        {
            "id": 2,
            "type": "UpscaleModelLoader",
            "mode": 0,
            "inputs": [],
            "outputs": [{"name": "UPSCALE_MODEL", "type": "UPSCALE_MODEL", "links": [1]}],
            "properties": {"models": [{"name": MODEL_NAME, "url": MODEL_URL, "directory": "upscale_models"}]},
            "widgets_values": [MODEL_NAME],
        },
        {
            "id": 3,
            "type": "ImageUpscaleWithModel",
            "mode": 0,
            "inputs": [
                {"name": "upscale_model", "type": "UPSCALE_MODEL", "link": 1},
                {"name": "image", "type": "IMAGE", "link": 2},
            ],
            "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [3]}],
            "widgets_values": [],
        },
        {
            "id": 4,
            "type": "SaveImage",
            "mode": 0,
            "inputs": [{"name": "images", "type": "IMAGE", "link": 3}],
            "outputs": [],
            "widgets_values": ["images/enlarged"],
        },
    ],
    "links": [[1, 2, 0, 3, 0, "UPSCALE_MODEL"], [2, 1, 0, 3, 1, "IMAGE"], [3, 3, 0, 4, 0, "IMAGE"]],
}
PLAIN = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "images/plain"}},
}
# Goes by hundredths, up to eight.
STEPPED = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 99}},
    "2": {"class_type": "ImageScaleBy", "inputs": {"image": ["1", 0], "upscale_method": "area", "scale_by": 2.0}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "images/between"}},
}
# Some seconds of work.
BRANCHES = 3
SLOW = {key: node for first in range(1, 3 * BRANCHES, 3) for key, node in slow_branch(first, 7_000 + first).items()}


@pytest.fixture(scope="module")
def own_suite() -> Iterator[RunningSuite]:
    """Around the real ComfyUI, with an imitation of the hub that the model is fetched from. Its parts get killed."""
    with Internet() as internet:
        internet.hugging_face.add("tests/upscaler", MODEL_NAME, MODEL)
        proxy = f"http://127.0.0.1:{internet.proxy.port}"
        suite = RunningSuite(COMFYUI_ARGS="--disable-api-nodes", HTTPS_PROXY=proxy)
        try:
            # Where the suite's own user can read it.
            suite.settings["SSL_CERT_FILE"] = str(shutil.copy(internet.ca_file, suite.folder / "authority.crt"))
            suite.start()
            suite.wait_until_ready()
            yield suite
        finally:
            suite.remove()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:  # noqa: F811
    """Fails the test when the page breaks its own security policy or a script throws. That a part is away is no fault
    of it."""
    page, problems = context.new_page(), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if "Content Security Policy" in said.text else None)
    yield page
    assert problems == []


def save(suite: RunningSuite, name: str, workflow: dict[str, Any]) -> None:
    with suite.client() as client:
        assert client.put(f"/api/workflows/{name}", json=workflow).status_code == 201


def drop(page: Page, name: str, content: str) -> None:
    """As a person does it: a file from the desktop, let go over the page."""
    transfer = page.evaluate_handle(
        """([name, content]) => {
            const transfer = new DataTransfer()
            transfer.items.add(new File([content], name, { type: 'application/json' }))
            return transfer
        }""",
        [name, content],
    )
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event("#main", event, {"dataTransfer": transfer})


def test_a_dropped_workflow_is_completed_by_one_click_and_run(own_suite: RunningSuite, page: Page) -> None:
    with own_suite.client() as client:
        upload(own_suite, client, "in.png", picture(40, 30))
    sign_in(page, own_suite, "/workflows")
    drop(page, "Enlarge.json", json.dumps(GRAPH))
    page.wait_for_url("**/workflows/Enlarge")

    missing = page.get_by_test_id("missing-model")
    expect(missing).to_contain_text("upscale_models")
    expect(missing).to_contain_text("huggingface.co")
    run = page.get_by_test_id("run-workflow")
    expect(run).to_be_disabled()
    look(page, "w1-missing")
    page.get_by_role("button", name="Install 1").click()
    expect(page.get_by_text("Ready to run")).to_be_visible(timeout=30_000)
    expect(run).to_be_enabled()
    run.click()
    image = page.get_by_test_id("run-output")
    expect(image).to_be_visible(timeout=60_000)
    look(page, "w2-result")

    page.locator("#nav-outputs").click()
    page.wait_for_url("**/outputs")
    page.get_by_test_id("shot").first.get_by_role("link").click()
    page.get_by_test_id("open-workflow").click()
    page.wait_for_url("**/workflows/enlarged_00001_")
    expect(page.get_by_text("Ready to run")).to_be_visible()
    look(page, "w3-of-the-picture")


def test_pages_follow_one_another_and_go_back_with_their_scripts(own_suite: RunningSuite, page: Page) -> None:
    save(own_suite, "Plain", PLAIN)
    sign_in(page, own_suite, "/settings")
    page.locator("#nav-outputs").click()
    expect(page.locator("#more")).to_be_hidden()
    page.locator("#nav-workflows").click()
    page.get_by_test_id("workflow-Plain").get_by_role("link").click()
    expect(page.get_by_text("Ready to run")).to_be_visible()
    page.go_back()
    expect(page.get_by_test_id("workflow-Plain")).to_be_visible()
    page.go_back()
    expect(page.get_by_label("Search outputs")).to_be_visible()
    page.locator("#nav-workflows").click()
    page.get_by_label("Search workflows").fill("plain")
    page.keyboard.press("Enter")
    expect(page.locator("#workflows-count")).to_have_text(re.compile(r"^\d\d? workflows?$"))
    expect(page.get_by_test_id("workflow-Plain")).to_be_visible()


def test_a_page_whose_script_does_not_come_says_so(own_suite: RunningSuite, page: Page) -> None:
    sign_in(page, own_suite, "/settings")
    page.route("**/static/outputs.*.js", lambda route: route.abort())
    page.locator("#nav-outputs").click()
    expect(page.locator(".toast")).to_contain_text("The page did not load")
    page.unroute("**/static/outputs.*.js")
    page.get_by_role("button", name="Reload").click()
    page.wait_for_url("**/outputs")
    expect(page.locator("#output-search")).to_be_visible()


def test_a_workflow_whose_name_is_taken_can_be_kept_beside_it(own_suite: RunningSuite, page: Page) -> None:
    save(own_suite, "Twice", PLAIN)
    sign_in(page, own_suite, "/workflows")
    drop(page, "Twice.json", json.dumps(PLAIN))
    page.get_by_role("button", name="Keep both").click()
    page.wait_for_url("**/workflows/Twice%202")


def test_a_file_without_a_workflow_is_refused_in_words(own_suite: RunningSuite, page: Page, tmp_path: Path) -> None:
    sign_in(page, own_suite, "/workflows")
    (tmp_path / "holiday.png").write_bytes(picture(8, 8))
    page.get_by_test_id("workflow-file").set_input_files(tmp_path / "holiday.png")
    expect(page.locator(".toast")).to_contain_text("workflow")
    assert page.url.endswith("/workflows")


def test_a_workflow_is_renamed_and_its_deletion_undone(own_suite: RunningSuite, page: Page) -> None:
    save(own_suite, "Before", PLAIN)
    sign_in(page, own_suite, "/workflows/Before")
    page.get_by_role("button", name="Rename").click()
    dialog = page.locator("#confirm")
    dialog.get_by_role("textbox").fill("After")
    dialog.get_by_role("button", name="Rename").click()
    page.wait_for_url("**/workflows/After")
    page.get_by_role("button", name="Delete").click()
    page.wait_for_url("**/workflows")
    expect(page.get_by_test_id("workflow-After")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_test_id("workflow-After")).to_be_visible()


def test_a_batch_with_other_values_is_run_from_the_form(own_suite: RunningSuite, page: Page) -> None:
    save(own_suite, "Batch", PLAIN)
    sign_in(page, own_suite, "/workflows/Batch")
    page.get_by_label("Width").fill("96")
    page.get_by_test_id("run-count").fill("2")
    page.get_by_role("button", name="Run 2").click()
    expect(page.get_by_test_id("run-output")).to_have_count(2, timeout=30_000)
    assert (
        page.get_by_test_id("run-output").first.evaluate("image => image.decode().then(() => image.naturalWidth)") == 96
    )
    expect(page.get_by_label("Width")).to_have_value("96")


def test_a_value_between_the_steps_of_a_node_is_run_and_one_beyond_its_limits_is_not(
    own_suite: RunningSuite, page: Page
) -> None:
    save(own_suite, "Between", STEPPED)
    sign_in(page, own_suite, "/workflows/Between")
    run = page.get_by_test_id("run-workflow")
    expect(page.get_by_text("Ready to run")).to_be_visible()
    page.get_by_label("Scale by").fill("9")
    run.click()
    expect(page.get_by_label("Scale by")).to_be_focused()
    page.get_by_label("Scale by").fill("1.505")
    run.click()
    image = page.get_by_test_id("run-output")
    expect(image).to_have_count(1)
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 96


def test_another_file_chosen_in_the_form_stands_in_for_a_missing_one(own_suite: RunningSuite, page: Page) -> None:
    with own_suite.client() as client:
        upload(own_suite, client, "in.png", picture(40, 30))
    folder = own_suite.workspace / "models" / "upscale_models"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "another.safetensors").write_bytes(MODEL)
    loader = {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "nobody-has-it.pth"}}
    save(own_suite, "Stand-in", {**WORKFLOW, "2": loader})
    sign_in(page, own_suite, "/workflows/Stand-in")
    expect(page.get_by_test_id("missing-model")).to_be_visible()
    expect(page.get_by_test_id("run-workflow")).to_be_disabled()
    page.get_by_label("Model name").select_option("another.safetensors")
    page.get_by_test_id("run-workflow").click()
    expect(page.get_by_test_id("run-output")).to_be_visible(timeout=60_000)


def test_a_wrong_value_that_is_no_text_is_not_offered_for_replacement(own_suite: RunningSuite, page: Page) -> None:
    scaled = {"image": ["1", 0], "upscale_method": "no-such", "width": 8, "height": 8, "crop": 5}
    save(own_suite, "Wrong", {**PLAIN, "3": {"class_type": "ImageScale", "inputs": scaled}, "2": _saved("3")})
    sign_in(page, own_suite, "/workflows/Wrong")
    wrong = page.get_by_test_id("wrong-value")
    expect(wrong).to_have_count(2)
    expect(wrong.get_by_role("button", name="Use it")).to_have_count(1)
    wrong.get_by_role("button", name="Use it").click()
    expect(wrong).to_have_count(1)


def test_a_range_of_pictures_is_ticked_and_saved_as_a_zip(own_suite: RunningSuite, page: Page) -> None:
    folder = own_suite.workspace / "output" / "ranged"
    folder.mkdir(parents=True)
    for number in range(6):
        (folder / f"ranged_{number}.png").write_bytes(picture(8, 8))
    sign_in(page, own_suite, "/outputs?search=ranged_")
    cells = page.get_by_test_id("shot")
    expect(cells).to_have_count(6)
    page.get_by_test_id("select").click()
    cells.nth(1).get_by_role("link").click()
    cells.nth(4).get_by_role("link").click(modifiers=["Shift"])
    expect(page.get_by_role("toolbar").get_by_role("status")).to_contain_text("4 selected")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download zip").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert len(archive.namelist()) == 4
        assert archive.testzip() is None


def test_a_long_batch_shows_what_runs_and_can_be_called_off(own_suite: RunningSuite, page: Page) -> None:
    save(own_suite, "Many", {key: _other(node, 90) for key, node in SLOW.items()})
    sign_in(page, own_suite, "/workflows/Many")
    expect(page.get_by_text("Ready to run")).to_be_visible()
    page.get_by_test_id("run-count").fill("20")
    page.get_by_role("button", name="Run 20").click()
    results = page.locator("#results")
    expect(results.get_by_test_id("run-progress")).to_be_visible()
    expect(results.get_by_text(re.compile(r"and \d+ more"))).to_be_visible()
    results.get_by_role("button", name="Clear waiting").click()
    expect(results.get_by_text(re.compile(r"and \d+ more"))).to_have_count(0)
    results.get_by_role("button", name="Interrupt").click()
    expect(results.get_by_test_id("run-progress")).to_have_count(0)


def test_new_pictures_appear_in_the_gallery_and_go_when_they_are_deleted(own_suite: RunningSuite, page: Page) -> None:
    folder = own_suite.workspace / "output" / "images"
    sign_in(page, own_suite, "/outputs")
    (folder / "by-hand_00001_.png").write_bytes(picture(30, 30))
    made = page.locator("[data-name='by-hand_00001_.png']")
    expect(made).to_be_visible()
    made.hover()
    made.get_by_role("checkbox").check()
    page.get_by_role("toolbar").get_by_role("button", name="Delete").click()
    page.locator("#confirm").get_by_role("button", name="Delete").click()
    expect(made).to_have_count(0)
    assert not (folder / "by-hand_00001_.png").exists()


def test_a_run_outlives_the_dashboard(own_suite: RunningSuite, page: Page) -> None:
    save(own_suite, "Long", SLOW)
    sign_in(page, own_suite, "/workflows/Long")
    page.get_by_test_id("run-workflow").click()
    expect(page.get_by_test_id("run-progress")).to_be_visible(timeout=20_000)
    os.kill(own_suite.pid_of("dashboard"), signal.SIGKILL)
    expect(page.get_by_test_id("run-output")).to_have_count(BRANCHES, timeout=60_000)
    expect(page.locator("#results").get_by_text("Done")).to_be_visible()


def test_a_run_that_was_lost_with_comfyui_is_said_to_be_lost_and_runs_again(
    own_suite: RunningSuite, page: Page
) -> None:
    save(own_suite, "Doomed", {key: _other(node) for key, node in SLOW.items()})
    sign_in(page, own_suite, "/workflows/Doomed")
    page.get_by_test_id("run-workflow").click()
    expect(page.get_by_test_id("run-progress")).to_be_visible(timeout=20_000)
    os.kill(own_suite.pid_of("comfyui"), signal.SIGKILL)
    expect(page.locator("#top-status")).not_to_contain_text("ComfyUI ready", timeout=30_000)
    results = page.locator("#results")
    expect(results.get_by_text("Lost", exact=True)).to_be_visible(timeout=60_000)
    look(page, "w4-lost")
    expect(page.locator("#top-status")).to_contain_text("ComfyUI ready", timeout=60_000)
    expect(page.get_by_text("Ready to run")).to_be_visible()
    results.get_by_role("button", name="Run again: Doomed").click()
    expect(page.get_by_test_id("run-output")).to_have_count(BRANCHES, timeout=60_000)


def _saved(source: str) -> dict[str, Any]:
    return {"class_type": "SaveImage", "inputs": {"images": [source, 0], "filename_prefix": "images/saved"}}


def _other(node: dict[str, Any], by: int = 50) -> dict[str, Any]:
    """With another colour, which ComfyUI has not kept."""
    inputs = node["inputs"]
    return {**node, "inputs": {**inputs, "color": inputs["color"] + by} if "color" in inputs else inputs}
