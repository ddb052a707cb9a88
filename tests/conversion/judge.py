"""ComfyUI's own front end in headless Chromium: the prompt that it makes of a graph.

Nothing but ComfyUI is within its reach: the page would ask its maker's servers for news and node packs.
"""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
from msgspec import Struct
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright
from playwright.sync_api import Error as BrowserError

from provision.packages import find
from services.comfyui import Prompt
from services.workflows.document import Graph
from tests.e2e.test_browser import FLAGS

# Every name but the address that ComfyUI listens on is unknown.
ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
LOAD_SECONDS = 120.0
# A graph takes half a second. Some keep a script busy for ever, which no script can end.
EXPORT_SECONDS = 60.0
# What it remembers of each graph adds up.
GRAPHS_PER_PAGE = 150

IS_READY = "window.app?.vueAppReady && window.app.graph && Object.keys(LiteGraph.registered_node_types).length > 50"
DONE = "the graph is exported"
# Apart from the call, and told by a message: a page whose script never ends answers no call, not even within its time.
# The dice fall so that the first of a choice is taken.
EXPORT = """([text, done]) => {
  const options = {skipAssetScans: true, silentAssetErrors: true, deferWarnings: true};
  setTimeout(async () => {
    const random = Math.random;
    try {
      await window.app.loadGraphData(JSON.parse(text), true, false, null, options);
      Math.random = () => 0;
      window.exported = {prompt: JSON.stringify((await window.app.graphToPrompt()).output)};
    } catch (error) {
      window.exported = {error: String(error)};
    } finally {
      Math.random = random;
      console.info(done);
    }
  });
}"""


class Export(Struct, frozen=True):
    """`error`: the front end itself fails at this graph."""

    prompt: Prompt | None = None
    error: str = ""


class Judge:
    """One page, into which graphs are loaded one after the other: it takes seconds to open.

    It keeps the subgraphs that earlier graphs defined, which a graph that lacks the definition of its own would find.
    `definitions`: ComfyUI's `/object_info`; `version`: its own.
    """

    def __init__(self, browser: Browser, address: str) -> None:
        self._browser = browser
        self._address = address
        self._page: Page | None = None
        self._debugger: CDPSession | None = None
        self._graphs = 0
        self.definitions: dict[str, dict[str, Any]] = httpx.get(f"{address}/object_info", timeout=LOAD_SECONDS).json()
        self.version = str(httpx.get(f"{address}/system_stats").json()["system"]["comfyui_version"])

    def export(self, graph: Graph) -> Export:
        page = self._page or self._open()
        self._graphs += 1
        try:
            with page.expect_console_message(lambda message: message.text == DONE, timeout=EXPORT_SECONDS * 1000):
                page.evaluate(EXPORT, [json.dumps(graph), DONE])
            exported = page.evaluate("window.exported")
        except BrowserError as error:
            self._end_scripts()
            self._close()
            return Export(error=error.message.splitlines()[0])
        if self._graphs == GRAPHS_PER_PAGE:
            self._close()
        return Export(json.loads(exported["prompt"])) if "prompt" in exported else Export(error=exported["error"])

    def _open(self) -> Page:
        context = self._browser.new_context(viewport={"width": 1280, "height": 800})
        self._page = context.new_page()
        self._debugger = context.new_cdp_session(self._page)
        self._page.goto(self._address, timeout=LOAD_SECONDS * 1000)
        self._page.wait_for_function(IS_READY, timeout=LOAD_SECONDS * 1000, polling=50)
        # Nobody looks, and drawing takes a third of the time.
        self._page.evaluate("document.body.style.display = 'none'")
        self._graphs = 0
        return self._page

    def _end_scripts(self) -> None:
        """Of a page that a script keeps busy: it could not be closed otherwise."""
        assert self._debugger is not None
        with contextlib.suppress(BrowserError):  # it crashed
            self._debugger.send("Runtime.terminateExecution")

    def _close(self) -> None:
        assert self._page is not None
        self._page.context.close()
        self._page = None


@contextlib.contextmanager
def sitting(address: str) -> Iterator[Judge]:
    """The judge of the ComfyUI at `address`."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find("chromium"), args=[*FLAGS, ALONE])
        try:
            yield Judge(browser, address)
        finally:
            browser.close()
