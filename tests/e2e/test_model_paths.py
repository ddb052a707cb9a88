"""`extra_model_paths.yaml`, held against the real ComfyUI: a file in a folder must be offered by that folder's loader.

ComfyUI lists the files of a folder it has never heard of as readily as those of a real one, so a listing proves
nothing; what a node's input offers does.
"""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from bootstrap.model_paths import content
from services import plain_tree, volume
from services.model_folders import KNOWN_FOLDERS, LEGACY_FOLDERS, LOADERS, folders_of
from services.workspace import Workspace
from tests.running import RunningSuite, free_ports, status_of

# Folders of which no node of ComfyUI's own makes a list: what reads them looks the file up by the name in a prompt,
# or belongs to a custom node.
WITHOUT_LOADER = {"classifiers", "embeddings", "ipadapter", "vae_approx"}


def put_a_file_into(models: Path, folder: str) -> str:
    """The name under which a loader should offer it."""
    (models / folder).mkdir(parents=True, exist_ok=True)
    if folder == "diffusers":
        (models / folder / "probe-diffusers").mkdir(exist_ok=True)
        (models / folder / "probe-diffusers" / "model_index.json").write_text("{}")
        return "probe-diffusers"
    name = f"probe-{folder}.yaml" if folder == "configs" else f"probe-{folder}.safetensors"
    (models / folder / name).write_bytes(b"x")
    return name


def offered(object_info: dict[str, Any], node: str, input_name: str) -> list[Any]:
    inputs = object_info[node]["input"]
    specification = {**inputs.get("required", {}), **inputs.get("optional", {})}[input_name]
    if isinstance(specification[0], list):
        return list(specification[0])
    return list(specification[1]["options"])


def loaders_without(object_info: dict[str, Any], files: dict[str, str]) -> set[str]:
    """The folders whose file is offered by none of the loaders that should."""
    return {
        folder
        for folder, name in files.items()
        for node, input_name in LOADERS[folder]
        if node in object_info and name not in offered(object_info, node, input_name)
    }


def test_every_folder_has_a_loader_or_a_reason(comfyui_dir: Path) -> None:
    assert {*KNOWN_FOLDERS, *folders_of(comfyui_dir)} == set(LOADERS) | WITHOUT_LOADER


def test_the_loader_of_every_folder_offers_the_file_put_there(suite: RunningSuite, comfyui_dir: Path) -> None:
    models = suite.workspace / "models"
    # What came to ComfyUI after this release has no loader here.
    loadable = set(LOADERS) & set(folders_of(comfyui_dir))
    assert "checkpoints" in loadable
    files = {folder: put_a_file_into(models, folder) for folder in loadable}
    embedding = put_a_file_into(models, "embeddings")
    with suite.client() as client:
        headers = {"Origin": suite.comfyui_address}
        object_info = client.get(f"{suite.comfyui_address}/object_info", headers=headers).json()
        embeddings = client.get(f"{suite.comfyui_address}/embeddings", headers=headers).json()
    for folder, name in {**files, "embeddings": embedding}.items():
        if folder == "diffusers":
            (models / folder / name / "model_index.json").unlink()
            (models / folder / name).rmdir()
        else:
            (models / folder / name).unlink()
    tried = {folder for folder in loadable if any(node in object_info for node, _ in LOADERS[folder])}
    assert tried == loadable
    assert loaders_without(object_info, files) == set()
    assert Path(embedding).stem in embeddings


@contextlib.contextmanager
def comfyui_with(paths: bytes, tmp_path: Path, comfyui_dir: Path) -> Iterator[int]:
    """The port of a ComfyUI that was told `paths`."""
    (tmp_path / "paths.yaml").write_bytes(paths)
    port = free_ports(1)[0]
    (tmp_path / "user").mkdir()
    process = subprocess.Popen(
        [
            *(os.environ["COMFYUI_PYTHON"], "main.py", "--cpu", "--disable-api-nodes", "--disable-all-custom-nodes"),
            *("--listen", "127.0.0.1", "--port", str(port), "--disable-auto-launch"),
            *("--extra-model-paths-config", str(tmp_path / "paths.yaml"), "--user-directory", str(tmp_path / "user")),
            *(
                "--output-directory",
                str(tmp_path),
                "--input-directory",
                str(tmp_path),
                "--temp-directory",
                str(tmp_path),
            ),
            *("--database-url", f"sqlite:///{tmp_path}/comfyui.db"),
        ],
        cwd=comfyui_dir,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 90
        while status_of(f"http://127.0.0.1:{port}/system_stats") != 200:
            assert process.poll() is None, "ComfyUI ended"
            assert time.monotonic() < until, "ComfyUI did not start"
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def object_info_of(port: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(httpx.get(f"http://127.0.0.1:{port}/object_info", timeout=60).content)
    return found


def test_every_folder_of_a_plain_comfyui_is_offered_too(tmp_path: Path, comfyui_dir: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.custom_nodes.mkdir()
    loadable = set(LOADERS) & set(folders_of(comfyui_dir))
    files = {folder: put_a_file_into(workspace.root / plain_tree.ROOT, folder) for folder in loadable}
    old = {new: put_a_file_into(workspace.root / plain_tree.ROOT, old) for old, new in LEGACY_FOLDERS.items()}
    paths = content(workspace, KNOWN_FOLDERS, volume.VolumeReport("ok", str(tmp_path), ""))
    with comfyui_with(paths, tmp_path, comfyui_dir) as port:
        object_info = object_info_of(port)
    assert loaders_without(object_info, files) == set()
    assert loaders_without(object_info, old) == set()


def test_a_misspelt_folder_is_noticed(tmp_path: Path, comfyui_dir: Path) -> None:
    """`lora` where `loras` belongs."""
    workspace = Workspace(tmp_path)
    workspace.custom_nodes.mkdir()
    files = {folder: put_a_file_into(workspace.models, folder) for folder in ("loras", "vae")}
    right = content(workspace, ("loras", "vae"), volume.VolumeReport("ok", str(tmp_path), ""))
    wrong = right.replace(b"loras: models/loras", b"lora: models/loras")
    assert wrong != right
    with comfyui_with(wrong, tmp_path, comfyui_dir) as port:
        object_info = object_info_of(port)
        listed = httpx.get(f"http://127.0.0.1:{port}/models/lora", timeout=10).json()
    assert files["loras"] in listed, "ComfyUI lists what no loader offers"
    assert loaders_without(object_info, files) == {"loras"}
