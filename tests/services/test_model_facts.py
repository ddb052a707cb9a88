import os
from pathlib import Path

import msgspec
import pytest

from services.model_facts import ModelFacts
from services.models import ModelFile, ModelIndex
from services.workspace import Workspace
from tests.fakes.faulty_volume import MountedVolume
from tests.services.test_model_headers import tensor, write

FIELDS = {"__metadata__": {"ss_base_model_version": "sdxl_base_v1-0"}, "a": tensor("F16", [4], 0, 8)}


@pytest.fixture
def facts(workspace: Workspace) -> ModelFacts:
    return ModelFacts(workspace)


def put(workspace: Workspace, path: str = "models/loras/a.safetensors") -> Path:
    file = workspace.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    return write(file, FIELDS, 8)


def listed(workspace: Workspace) -> list[ModelFile]:
    return list(ModelIndex(workspace).scan().values())


@pytest.mark.parametrize(
    "path",
    [
        "models/loras/sub/a.safetensors",
        "models/unet/a.safetensors",
        "ComfyUI/models/unet/a.safetensors",
        "models/loras/model [fp16].safetensors",
    ],
)
def test_a_model_is_read_where_it_lies(path: str, facts: ModelFacts, workspace: Workspace) -> None:
    put(workspace, path)
    [file] = listed(workspace)
    facts.read(file)
    fact = facts.get(file)
    assert fact is not None
    assert (fact.format, fact.dtype, fact.parameters) == ("safetensors", "F16", 4)
    assert (fact.base_model, fact.base_model_from, fact.problem) == ("SDXL", "metadata", None)


def test_what_was_read_is_known_after_a_restart(facts: ModelFacts, workspace: Workspace) -> None:
    put(workspace)
    [file] = listed(workspace)
    facts.read(file)
    facts.save()
    again = ModelFacts(workspace)
    again.load()
    assert again.get(file) == facts.get(file) is not None
    assert again.unread([file]) == []


def test_a_fact_is_void_when_its_file_changes(facts: ModelFacts, workspace: Workspace) -> None:
    path = put(workspace)
    [file] = listed(workspace)
    facts.read(file)
    os.utime(path, ns=(0, file.mtime_ns + 1))
    [changed] = listed(workspace)
    assert facts.get(changed) is None
    assert facts.unread([changed]) == [changed]


def test_a_broken_model_says_so_and_is_read_anew_after_a_restart(facts: ModelFacts, workspace: Workspace) -> None:
    put(workspace).write_bytes(b"half")
    [file] = listed(workspace)
    facts.read(file)
    fact = facts.get(file)
    assert fact is not None
    assert "too short" in str(fact.problem)
    facts.save()
    again = ModelFacts(workspace)
    again.load()
    assert again.unread([file]) == [file]


def test_a_model_that_is_gone_leaves_no_fact(facts: ModelFacts, workspace: Workspace) -> None:
    path = put(workspace)
    [file] = listed(workspace)
    path.unlink()
    facts.read(file)
    assert facts.get(file) is None


def test_a_model_that_cannot_be_read_is_no_reason_to_stop(facts: ModelFacts, workspace: Workspace) -> None:
    path = put(workspace)
    [file] = listed(workspace)
    path.unlink()
    path.symlink_to(path)
    facts.read(file)
    fact = facts.get(file)
    assert fact is not None
    assert "cannot be read" in str(fact.problem)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"rules": 1, "facts": {"a": {}}}', b'{"rules": 99, "facts": {}}', b"[" * 10_000]
)
def test_facts_that_nobody_can_read_are_read_from_the_models_again(
    content: bytes, facts: ModelFacts, workspace: Workspace
) -> None:
    (workspace.config / "model_facts.json").write_bytes(content)
    facts.load()
    put(workspace)
    assert len(facts.unread(listed(workspace))) == 1


def test_facts_of_models_that_are_gone_are_not_kept(facts: ModelFacts, workspace: Workspace) -> None:
    put(workspace, "models/loras/a.safetensors")
    put(workspace, "models/loras/b.safetensors")
    files = listed(workspace)
    for file in files:
        facts.read(file)
    facts.keep_only([files[0].id])
    facts.save()
    kept = msgspec.json.decode((workspace.config / "model_facts.json").read_bytes())
    assert list(kept["facts"]) == [files[0].id]


def test_a_volume_that_takes_no_facts_keeps_them_until_it_does(faulty_volume: MountedVolume) -> None:
    workspace = Workspace(faulty_volume.root)
    workspace.config.mkdir()
    put(workspace)
    [file] = listed(workspace)
    facts = ModelFacts(workspace)
    facts.read(file)
    faulty_volume.fault("read_only")
    facts.save()
    assert facts.get(file) is not None
    faulty_volume.fault("none")
    facts.save()
    again = ModelFacts(workspace)
    again.load()
    assert again.get(file) == facts.get(file)


def test_a_pipe_in_place_of_what_was_kept_is_not_waited_for(facts: ModelFacts, workspace: Workspace) -> None:
    put(workspace)
    os.mkfifo(workspace.config / "model_facts.json")
    facts.load()
    assert facts.unread(listed(workspace)) == listed(workspace)
