"""What a workflow lacks, by the running ComfyUI, the volume and the catalogue, and the install that brings it."""

import os

import msgspec
from msgspec import Struct

from dashboard.library import Library
from dashboard.planner import Planner
from dashboard.volume import Volume
from dashboard.workbench import Workbench
from services import installs
from services.artifacts import Artifact
from services.comfyui import ComfyUI, Prompt
from services.errors import InvalidRequest, WorkflowRefused
from services.installs import View
from services.model_folders import model_folders
from services.node_packs import NodePacks, folders_of_manager
from services.presets import Preset
from services.resolver import Trouble
from services.settings import APP_DIR, Settings
from services.workflows.check import Checked, Definitions, definitions_of, examine
from services.workflows.convert import Unconverted, classes_of, convert
from services.workflows.document import Document
from services.workflows.models import Known
from services.workflows.remedies import Replacement, use
from services.workflows.report import Report
from services.workspace import Workspace, figures_of


class Look(Struct, frozen=True):
    """`prompt`: what would run. `files`: what an install of everything would fetch; `coming`: what is on its way."""

    report: Report
    prompt: Prompt
    files: tuple[Artifact, ...]
    coming: tuple[Artifact, ...]

    def require(self) -> Prompt:
        """Raises WorkflowRefused, with the report, for what cannot run."""
        if not self.report.can_run:
            raise WorkflowRefused(f"the workflow cannot run: {self.report.summary}", msgspec.to_builtins(self.report))
        return self.prompt


class Refused(Struct, frozen=True):
    """A file that its host does not give. `page`: where to accept a licence; `token`: which one to set."""

    name: str
    message: str
    page: str | None
    token: str | None


class Checker:
    def __init__(
        self,
        settings: Settings,
        volume: Volume,
        workbench: Workbench,
        library: Library,
        planner: Planner,
        comfyui: ComfyUI,
    ) -> None:
        self._settings = settings
        self._workspace = Workspace(settings.workspace)
        self._volume = volume
        self._workbench = workbench
        self._library = library
        self._planner = planner
        self._comfyui = comfyui
        self._packs: NodePacks | None = None

    async def check(self, document: Document, prompt: Prompt | None = None) -> Look:
        """`prompt`: what was made of `document`, with other values; None: it is made here.

        Raises InvalidRequest for what is no workflow, ComfyUIUnavailable, WorkspaceUnavailable.
        """
        prompt, definitions, problems = await self._converted(document, prompt)
        shelf = await self._library.shelf()

        def work() -> Checked:
            known = Known(
                shelf.catalogue,
                shelf.view,
                shelf.models,
                model_folders(self._settings.comfyui_dir),
                {url: fact.size_bytes for url, fact in self._library.lock.all().items() if fact.size_bytes is not None},
            )
            packs, has_file = self._node_packs(), self._has_file
            return examine(document, prompt, definitions, known, unconverted=problems, packs=packs, has_file=has_file)

        found = await self._volume.run(work)
        return Look(found.report, prompt, found.files, found.coming)

    async def use(self, document: Document, replacements: tuple[Replacement, ...]) -> Document:
        """`document` with other model names. Raises InvalidRequest, ComfyUIUnavailable."""
        definitions = await definitions_of(self._comfyui, await self._workbench.run(_classes, document))
        return await self._workbench.run(use, document, replacements, definitions.known)

    async def plan(self, title: str, look: Look) -> tuple[Preset, tuple[Refused, ...]]:
        """What to install for `look`, and what its hosts refuse; files of an install that brings all of them already
        are that install's. Raises InvalidRequest when nothing is left of it, WorkspaceUnavailable."""
        preset = installs.lacking(f"Models of {title}"[:200], (*look.files, *look.coming))
        view = (await self._library.shelf()).view
        if (same := _under_way(preset, view)) is not None:
            return same, ()
        planned = await self._planner.plan(preset, None)
        # Who only does not answer may do so later.
        troubles = {
            file.id: file.trouble for file in planned.files if file.trouble and file.trouble.kind != "unreachable"
        }
        refused = tuple(_refused(file.name, troubles[file.id]) for file in preset.files if file.id in troubles)
        left = [file for file in preset.files if file.id not in troubles]
        if not left and refused:
            reasons = "; ".join(f"{one.name}: {one.message}" for one in refused[:5])
            raise InvalidRequest(f"nothing of it can be fetched: {reasons}", {"refused": msgspec.to_builtins(refused)})
        return installs.lacking(preset.name, left), refused

    async def _converted(
        self, document: Document, prompt: Prompt | None
    ) -> tuple[Prompt, Definitions, tuple[Unconverted, ...]]:
        """Raises InvalidRequest, ComfyUIUnavailable."""
        prompt = prompt if prompt is not None else document.prompt
        if prompt is not None:
            return prompt, await definitions_of(self._comfyui, _classes(Document(prompt=prompt))), ()
        if document.graph is None:
            raise InvalidRequest("there is no workflow in it")
        definitions = await definitions_of(self._comfyui, await self._workbench.run(classes_of, document.graph))
        conversion = await self._workbench.run(convert, document.graph, definitions.known)
        return conversion.prompt, definitions, conversion.problems

    def _node_packs(self) -> NodePacks:
        if self._packs is None:
            settings, nodes = self._settings, self._workspace.custom_nodes
            folders = folders_of_manager(settings.comfyui_dir, settings.comfyui_python, nodes, APP_DIR)
            self._packs = NodePacks(folders)
        return self._packs

    def _has_file(self, name: str) -> bool:
        """As ComfyUI looks for the file of a node that takes an upload. Raises OSError when the volume fails."""
        base = self._workspace.input
        if name.endswith("[temp]"):
            # In the container, where this program has no business.
            return True
        if name.endswith("[output]"):
            base, name = self._workspace.output, name.removesuffix("[output]")
        name = name.removesuffix("[input]").strip()
        parts = name.split("/")
        if not name or "\0" in name or ".." in parts or name.startswith("/") or max(map(len, parts)) > 255:
            return False
        return figures_of(os.path.join(base, name)) is not None


def _classes(document: Document) -> frozenset[str]:
    if document.graph is not None:
        return classes_of(document.graph)
    return frozenset(node["class_type"] for node in (document.prompt or {}).values())


def _under_way(wanted: Preset, view: View) -> Preset | None:
    """The install that brings all of `wanted` for a workflow already."""
    ids = {file.id for file in wanted.files}
    for install in view.installs.values():
        is_one = install.preset_id.startswith(installs.OF_WORKFLOW) and install.is_active
        if is_one and ids <= {file.id for file in install.files} and not ids & view.holds.keys():
            return installs.as_preset(install)
    return None


def _refused(name: str, trouble: Trouble) -> Refused:
    return Refused(name, trouble.message, trouble.page, trouble.token)
