"""The layers of docs/architecture.md, held against the imports."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ("bootstrap", "dashboard", "tools", "worker")

# A module imports only modules that stand before it.
SERVICES_IN_ORDER = (
    "errors",
    "lean_imports",
    "settings",
    "dev_tools",
    "model_folders",
    "named_models",
    "workspace",
    "output_files",
    "picture_size",
    "zip_stream",
    "file_lock",
    "hashing",
    "sizes",
    "space",
    "safetensors",
    "cached_file",
    "pod",
    "log",
    "volume",
    "records",
    "bandwidth",
    "connections",
    "doorbell",
    "boot",
    "artifacts",
    "presets",
    "yaml_files",
    "templates",
    "catalogue",
    "plain_tree",
    "link_targets",
    "model_places",
    "verified",
    "verified_summary",
    "schedule",
    "progress",
    "credentials",
    "sources.addresses",
    "sources.troubles",
    "sources.hugging_face",
    "sources.civitai",
    "sources.civitai_versions",
    "sources.rules",
    "sources",
    "proxies",
    "http_stream",
    "journal",
    "links",
    "models",
    "gguf",
    "model_headers",
    "base_models",
    "model_facts",
    "downloads.segments",
    "downloads.digest",
    "downloads.pace",
    "downloads.lease",
    "downloads.part",
    "downloads.sync",
    "downloads.concurrency",
    "downloads.offer",
    "downloads.line",
    "downloads.transfer",
    "downloads.fetcher",
    "downloads",
    "lockfile",
    "lookup",
    "resolver",
    "hub_accounts",
    "installs",
    "standing",
    "references",
    "last_used",
    "vram",
    "plans",
    "removals",
    "placing",
    "uploads.upload",
    "uploads.chunk",
    "uploads.publishing",
    "uploads.book",
    "uploads",
    "adoptions",
    "jobs",
    "gpus",
    "metrics",
    "processes",
    "password",
    "auth",
    "comfyui_starts",
    "comfyui",
    "comfyui_socket",
    "node_packs",
    "headroom",
    "input_files",
    "embedded.texts",
    "embedded.exif",
    "embedded.id3",
    "embedded.jpeg",
    "embedded.json_heads",
    "embedded.matroska",
    "embedded.mp4",
    "embedded.png",
    "embedded.vorbis",
    "embedded.webp",
    "embedded",
    "workflows.shape",
    "workflows.conversion.numbers",
    "workflows.conversion.graph",
    "workflows.conversion.graph_file",
    "workflows.conversion.definitions",
    "workflows.conversion.widgets",
    "workflows.conversion.nodes",
    "workflows.conversion.node_ids",
    "workflows.conversion.virtual",
    "workflows.conversion.subgraphs",
    "workflows.conversion.promotions",
    "workflows.conversion.links",
    "workflows.conversion.texts",
    "workflows.conversion.primitives",
    "workflows.conversion.viewports",
    "workflows.conversion.group_nodes",
    "workflows.conversion.problem",
    "workflows.conversion",
    "workflows.conversion.loading",
    "workflows.conversion.writer",
    "workflows.convert",
    "workflows.document",
    "workflows.facts",
    "workflows.saved",
    "workflows.report",
    "workflows.declared",
    "workflows.seeds",
    "workflows.inputs",
    "workflows.values",
    "workflows.inner_graphs",
    "workflows.origins",
    "workflows.models",
    "workflows.check",
    "workflows.remedies",
    "workflows.graph_values",
    "workflows",
    "runs.run",
    "runs.expected",
    "runs.following",
    "runs.records",
    "runs.book",
    "runs",
    "health",
)

# Whose business each outside package is.
OWNERS = {
    "starlette": {"dashboard"},
    "jinja2": {"dashboard"},
    "hypercorn": {"dashboard"},
    "uvloop": {"dashboard"},
    "rq": {"services.jobs", "worker"},
    "pynvml": {"services.gpus"},
    "psutil": {"services.metrics"},
    "ruamel": {"services.yaml_files"},
    "structlog": {"services.log"},
    "comfyui_workflow_templates_json": {"services.templates"},
    "websockets": {"services.comfyui_socket"},
    "rich": {"tools.preset_manager"},
    "PIL": {"dashboard.thumbnailer"},
}

NOT_AT_BOOT = (
    "starlette",
    "rq",
    "redis",
    "httpx",
    "pydantic",
    "hypercorn",
    "jinja2",
    "websockets",
    "comfyui_workflow_templates_json",
)


def modules(package: str) -> Iterator[tuple[str, ast.Module]]:
    for file in sorted((ROOT / package).rglob("*.py")):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        yield name, ast.parse(file.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> set[str]:
    """Every module named in an import."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_do_not_import_one_another(program: str) -> None:
    others = {other for other in PROGRAMS if other != program}
    for name, tree in modules(program):
        assert not {module.split(".")[0] for module in imports(tree)} & others, name


def test_services_import_no_program() -> None:
    for name, tree in modules("services"):
        assert not {module.split(".")[0] for module in imports(tree)} & set(PROGRAMS), name


def test_services_stand_in_one_order() -> None:
    order = {f"services.{name}": place for place, name in enumerate(SERVICES_IN_ORDER)}
    for name, tree in modules("services"):
        if name == "services":
            continue
        assert name in order, f"{name} has no place in the order: give it one"
        for module in imports(tree):
            if module in order:
                assert order[module] < order[name], f"{name} imports {module}, which stands behind it"


@pytest.mark.parametrize("package", sorted(OWNERS))
def test_each_outside_package_has_its_owner(package: str) -> None:
    for folder in ("services", *PROGRAMS):
        for name, tree in modules(folder):
            if any(module.split(".")[0] == package for module in imports(tree)):
                assert any(name == owner or name.startswith(f"{owner}.") for owner in OWNERS[package]), name


def test_only_the_settings_read_the_environment() -> None:
    for folder in ("services", *PROGRAMS):
        for name, tree in modules(folder):
            reads = [
                node
                for node in ast.walk(tree)
                if isinstance(node, ast.Attribute)
                and node.attr in {"environ", "getenv", "environb"}
                and isinstance(node.value, ast.Name)
                and node.value.id == "os"
            ]
            assert name == "services.settings" or not reads, name


def test_the_boot_does_not_load_what_it_does_not_need() -> None:
    code = "import sys, bootstrap.__main__; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {module.split(".")[0] for module in loaded.split()} & set(NOT_AT_BOOT)


@pytest.mark.parametrize("program", ["dashboard.app", "worker.__main__", "worker.downloads", "worker.reconciler"])
def test_no_program_but_the_command_line_loads_what_draws_there(program: str) -> None:
    code = f"import sys, {program}; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"rich", "pygments", "PIL", "comfyui_workflow_templates_json"} & set(loaded.split())


def test_there_are_no_modules_for_odds_and_ends() -> None:
    for folder in ("services", *PROGRAMS):
        for name, _ in modules(folder):
            assert name.rsplit(".", 1)[-1] not in {"utils", "util", "common", "helpers", "misc"}, name


def test_every_job_named_in_the_queue_exists() -> None:
    from services import jobs

    module, _, function = jobs.FETCH.rpartition(".")
    assert callable(getattr(importlib.import_module(module), function))


def test_no_file_names_a_registry_or_a_private_path() -> None:
    # Put together, so that this file does not find itself.
    hosts = ["pypi" + ".org", "pythonhosted" + ".org", "registry.npmjs" + ".org", "files.python" + "hosted"]
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for path in filter(None, tracked.decode().split("\0")):
        text = (ROOT / path).read_text(encoding="utf-8", errors="replace") if (ROOT / path).is_file() else ""
        for host in hosts:
            assert host not in text, f"{path} names {host}"
