"""What may go, and what has to stay."""

from msgspec.structs import replace

from services import installs, removals
from services.artifacts import Artifact
from services.catalogue import Catalogue
from services.models import ModelFile
from services.named_models import NamedModel
from services.presets import Preset
from services.references import References
from tests.services.views import A, B, C, here, install, preset, view

P, Q, R = preset("P", A, B), preset("Q", B, C), preset("R", C)
CATALOGUE = Catalogue([P, Q, R])
NOTHING = References()


def model(file: Artifact, root: str = "models") -> ModelFile:
    return ModelFile(
        id=file.id, folder=file.folder, name=file.name, size_bytes=file.size_bytes or 0, mtime_ns=1, root=root
    )


def named(*files: Artifact, by: str = "mine") -> References:
    return References({by: frozenset(NamedModel(file.folder, file.name) for file in files)})


def reasons(found: removals.Removal) -> dict[str, str]:
    return {kept.name: kept.reason for kept in found.kept}


def test_what_nothing_else_needs_leaves_with_its_preset() -> None:
    found = removals.of_preset(P, CATALOGUE, view(install(P), verified=here(A, B)), {}, NOTHING)
    assert (found.leaving, found.kept) == ((A.id, B.id), ())


def test_what_another_installed_preset_needs_stays() -> None:
    found = removals.of_preset(P, CATALOGUE, view(install(P), install(Q)), {}, NOTHING)
    assert found.leaving == (A.id,)
    assert reasons(found) == {B.name: "needed by q"}


def test_what_a_preset_needs_that_nobody_asked_for_but_is_complete_stays() -> None:
    found = removals.of_preset(P, CATALOGUE, view(install(P), verified=here(A, B, C)), {}, NOTHING)
    assert reasons(found) == {B.name: "needed by q"}


def test_a_preset_that_is_complete_through_what_another_brought_keeps_nothing() -> None:
    """A dozen templates use the same files."""
    twin, part = preset("TWIN", A, B), preset("PART", B)
    catalogue = Catalogue([P, twin, part])
    found = removals.of_preset(P, catalogue, view(install(P), verified=here(A, B)), {}, NOTHING)
    assert (found.leaving, found.kept) == ((A.id, B.id), ())


def test_a_preset_that_came_with_the_volume_keeps_its_files() -> None:
    found = removals.of_models([model(C)], CATALOGUE, view(verified=here(C)), NOTHING)
    assert reasons(found) == {C.name: "needed by r"}


def test_what_a_preset_had_that_was_uninstalled_leaves() -> None:
    found = removals.of_preset(P, CATALOGUE, view(install(P), verified=here(A, B, C), removed=("Q",)), {}, NOTHING)
    assert found.kept == ()


def test_what_a_saved_workflow_names_stays() -> None:
    found = removals.of_preset(P, CATALOGUE, view(install(P)), {}, named(A))
    assert reasons(found) == {A.name: "needed by the workflow mine"}


def test_presets_and_workflows_are_named_together() -> None:
    found = removals.of_preset(P, CATALOGUE, view(install(P), install(Q)), {}, named(B))
    assert reasons(found) == {B.name: "needed by q and the workflow mine"}


def test_a_file_that_dozens_need_names_a_few() -> None:
    others = [Preset(id=f"N{n}", name=f"n{n}", kind="image", description="", files=(A,)) for n in range(8)]
    seen = view(install(P), *(install(other) for other in others))
    found = removals.of_preset(P, Catalogue([P, *others]), seen, {}, NOTHING)
    assert reasons(found)[A.name] == "needed by n0, n1, n2, n3, n4 and 3 more"


def test_what_lies_in_a_tree_that_is_never_changed_stays() -> None:
    found = removals.of_preset(P, CATALOGUE, view(install(P)), {A.id: model(A, "ComfyUI/models")}, NOTHING)
    assert reasons(found) == {A.name: "lies in ComfyUI/models/, which is used and never changed"}
    assert (found.leaving, found.in_place) == ((B.id,), (A.id,))


def test_what_was_verified_of_it_stays_while_another_preset_needs_it() -> None:
    found = removals.of_preset(P, CATALOGUE, view(install(P), install(Q)), {B.id: model(B, "ComfyUI/models")}, NOTHING)
    assert (reasons(found), found.in_place) == ({B.name: "needed by q"}, ())


def test_a_model_that_an_installed_preset_needs_is_not_deleted() -> None:
    found = removals.of_models([model(A), model(C)], CATALOGUE, view(install(P)), NOTHING)
    assert found.leaving == (C.id,)
    assert reasons(found) == {A.name: "needed by p"}


def test_a_model_that_a_workflow_names_is_not_deleted() -> None:
    found = removals.of_models([model(C)], CATALOGUE, view(), named(C))
    assert reasons(found) == {C.name: "needed by the workflow mine"}


def test_who_insists_may_delete_what_is_needed_but_nothing_of_a_foreign_tree() -> None:
    files = [model(A), model(B, "ComfyUI/models")]
    found = removals.of_models(files, CATALOGUE, view(install(P)), named(A, B), force=True)
    assert found.leaving == (A.id,)
    assert reasons(found) == {B.name: "lies in ComfyUI/models/, which is used and never changed"}


def test_another_file_that_has_the_name_stays() -> None:
    """Someone put it there: the preset never brought it."""
    own = here(A, sha256="1" * 64)
    found = removals.of_preset(P, CATALOGUE, view(install(P), verified=own), {A.id: model(A)}, NOTHING)
    assert (found.leaving, reasons(found)) == ((B.id,), {A.name: "is another file of that name"})


def test_a_file_of_another_length_that_has_the_name_stays() -> None:
    found = removals.of_preset(P, CATALOGUE, view(install(P)), {A.id: replace(model(A), size_bytes=99)}, NOTHING)
    assert (found.leaving, reasons(found)) == ((B.id,), {A.name: "is another file of that name"})


def test_an_installed_preset_that_left_the_catalogue_keeps_its_files() -> None:
    """A user's all do while their file cannot be read."""
    seen = view(install(P), install(Q), verified=here(A, B, C))
    assert reasons(removals.of_preset(P, Catalogue([P]), seen, {}, NOTHING)) == {B.name: "needed by q"}
    assert reasons(removals.of_models([model(C)], Catalogue([P]), seen, NOTHING)) == {C.name: "needed by q"}


def test_a_single_file_that_was_added_keeps_itself_from_nobody() -> None:
    seen = view(install(installs.added(C)), verified=here(C))
    assert removals.of_models([model(C)], Catalogue([P]), seen, NOTHING).leaving == (C.id,)


def test_what_deleting_frees_is_what_keeps_no_other_name() -> None:
    def named_so(file: Artifact, inode: int, links: int = 1) -> ModelFile:
        return replace(model(file), inode=inode, links=links)

    a, b, c = named_so(A, 1), named_so(B, 2, links=2), named_so(C, 2, links=2)
    assert removals.freed_bytes([a, b], [a, b, c]) == 100
    assert removals.freed_bytes([b, c], [a, b, c]) == 50
    # One of them is a symbolic link: there is one name to the file.
    b, c = named_so(B, 2), named_so(C, 2)
    assert removals.freed_bytes([c], [a, b, c]) == 0


def test_what_a_workflow_lacked_is_kept_by_no_install_of_it() -> None:
    lacking, other = installs.lacking("A", [B, C]), installs.lacking("B", [C])
    seen = view(install(lacking), install(other), verified=here(B, C))
    found = removals.of_preset(lacking, Catalogue([]), seen, {}, named(C))
    assert (found.leaving, reasons(found)) == ((B.id,), {C.name: "needed by the workflow mine"})
    assert removals.departed(Catalogue([]), seen) == []


def test_the_same_files_are_the_same_install_whatever_it_is_called() -> None:
    assert installs.lacking("A", [B, C]).id == installs.lacking("B", [C, B]).id
    assert installs.lacking("A", [B]).id != installs.lacking("A", [C]).id
