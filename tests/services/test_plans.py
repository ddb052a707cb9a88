"""What installing would do, from what is on the volume and what the hosts said."""

from typing import Any

import pytest
from msgspec.structs import replace

from services.artifacts import Artifact, model_id
from services.models import ModelFile
from services.plans import Models, Plan, Room, plan
from services.resolver import Fact, Trouble
from services.verified import Verified
from tests.services.views import DIGEST, UNSIZED, A, B, C, here, install, preset, view

ROOM = Room(free_bytes=1000, reserve_bytes=100)
GATED = Trouble("gated", "the model is gated", "https://host.example/licence", "HF_TOKEN")


def on_disk(folder: str, name: str, size_bytes: int) -> dict[str, ModelFile]:
    file = ModelFile(id=model_id(folder, name), folder=folder, name=name, size_bytes=size_bytes, mtime_ns=1)
    return {file.id: file}


def checked(file: ModelFile, sha256: str) -> dict[str, Verified]:
    return {file.id: Verified(file.folder, file.name, file.size_bytes, file.mtime_ns, sha256, "sha256")}


def planned(*files: Artifact, models: dict[str, ModelFile] | None = None, **more: Any) -> Plan:
    seen, room = more.pop("view", view()), more.pop("room", ROOM)
    found, kept = more.pop("found", {}), more.pop("kept", {})
    wanted = replace(preset("P", *files), **more)
    return plan(wanted, seen, Models(models or {}, seen), found, kept, room)


def test_what_is_not_here_is_to_be_fetched() -> None:
    found = planned(A, B)
    assert [file.state for file in found.files] == ["missing", "missing"]
    assert (found.fetch_bytes, found.total_bytes, found.free_after_bytes, found.fits) == (150, 150, 750, True)


def test_what_is_verified_is_not_fetched_again() -> None:
    found = planned(A, B, view=view(verified=here(A)))
    assert [file.state for file in found.files] == ["present", "missing"]
    assert (found.present_bytes, found.fetch_bytes) == (100, 50)


def test_partial_data_counts() -> None:
    found = planned(A, kept={A.id: 30})
    assert (found.files[0].state, found.files[0].bytes_done, found.fetch_bytes) == ("partial", 30, 70)


def test_a_file_in_its_place_that_nobody_checked_is_checked_instead_of_fetched() -> None:
    found = planned(A, models=on_disk(A.folder, A.name, 100))
    assert (found.files[0].state, found.fetch_bytes) == ("unchecked", 0)


@pytest.mark.parametrize("size_bytes", [99, 101])
def test_another_file_of_its_name_is_in_the_way(size_bytes: int) -> None:
    found = planned(A, models=on_disk(A.folder, A.name, size_bytes))
    assert found.files[0].state == "occupied"


def test_a_file_of_its_name_with_another_digest_is_in_the_way() -> None:
    models = on_disk(A.folder, A.name, 100)
    found = planned(A, models=models, view=view(verified=checked(models[A.id], "1" * 64)))
    assert found.files[0].state == "occupied"


def test_the_same_digest_under_another_name_is_offered() -> None:
    models = on_disk("unet", "other.safetensors", 100)
    (other,) = models.values()
    found = planned(A, models=models, view=view(verified=checked(other, DIGEST)))
    assert found.files[0].state == "elsewhere"
    assert [(like.id, like.match) for like in found.files[0].elsewhere] == [(other.id, "sha256")]


def test_the_same_name_and_size_in_another_folder_is_offered_as_a_guess() -> None:
    models = on_disk("loras", "sub/a.safetensors", 100)
    found = planned(A, models=models)
    assert [like.match for like in found.files[0].elsewhere] == ["name_and_size"]


def test_a_namesake_that_is_known_to_be_another_file_is_not_offered() -> None:
    models = on_disk("loras", "a.safetensors", 100)
    (other,) = models.values()
    found = planned(A, models=models, view=view(verified=checked(other, "1" * 64)))
    assert found.files[0].state == "missing"


def test_an_unknown_size_is_said_and_not_guessed() -> None:
    found = planned(A, UNSIZED)
    assert (found.total_bytes, found.fetch_bytes, found.unknown_sizes) == (None, 100, 1)


def test_what_other_installs_have_to_fetch_is_taken_off_what_is_free() -> None:
    found = planned(A, view=view(install(preset("Q", B, C)), kept={B.id: 20}))
    assert (found.promised_bytes, found.free_after_bytes) == (40, 1000 - 100 - 40 - 100)


def test_what_uploads_have_to_bring_is_taken_off_too() -> None:
    found = planned(A, view=replace(view(), uploading_bytes=300))
    assert (found.promised_bytes, found.free_after_bytes) == (300, 1000 - 100 - 300 - 100)


def test_a_file_that_another_install_is_fetching_is_counted_once() -> None:
    found = planned(A, view=view(install(preset("Q", A))))
    assert (found.promised_bytes, found.fetch_bytes) == (0, 100)


def test_what_does_not_fit_is_said_by_how_much() -> None:
    found = planned(A, room=Room(free_bytes=150, reserve_bytes=100))
    assert (found.fits, found.free_after_bytes) == (False, -50)


def test_nothing_to_fetch_fits_on_the_fullest_volume() -> None:
    assert planned(A, view=view(verified=here(A)), room=Room(0, 100)).fits


def test_what_the_host_says_is_told_per_file() -> None:
    found = planned(A, B, found={A.url: GATED, B.url: Fact(url=B.url, size_bytes=50, commit="c" * 40, at=1.0)})
    assert (found.files[0].trouble, found.files[0].commit) == (GATED, None)
    assert (found.files[1].trouble, found.files[1].commit) == (None, "c" * 40)


def test_a_refusal_does_not_matter_for_what_is_here() -> None:
    found = planned(A, view=view(verified=here(A)), found={A.url: GATED})
    assert found.files[0].trouble is None


@pytest.mark.parametrize(
    ("gpu_bytes", "vram_bytes", "fit", "needed", "source"),
    [
        (None, None, "no_gpu", 150, "weights"),
        (150, None, "fits", 150, "weights"),
        (149, None, "too_small", 150, "weights"),
        (150, 200, "too_small", 200, "measured"),
    ],
)
def test_the_card_is_held_against_what_is_needed(
    gpu_bytes: int | None, vram_bytes: int | None, fit: str, needed: int, source: str
) -> None:
    found = planned(A, B, vram_bytes=vram_bytes, room=Room(1000, 0, gpu_bytes)).vram
    assert (found.needed_bytes, found.source, found.fit) == (needed, source, fit)


def test_a_card_is_not_judged_by_files_whose_size_is_unknown() -> None:
    assert planned(UNSIZED, room=Room(1000, 0, 10)).vram.fit == "not_known"
