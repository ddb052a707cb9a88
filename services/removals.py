"""What may be removed, and what has to stay because something else needs it."""

from collections import Counter
from collections.abc import Iterable, Mapping

from msgspec import Struct

from services import installs
from services.catalogue import Catalogue
from services.installs import View
from services.model_places import OURS
from services.models import ModelFile
from services.presets import Preset
from services.references import References

# A file that dozens need says enough by naming a few.
NAMES_MAX = 5


class Kept(Struct, frozen=True):
    """A file that stays, and why."""

    id: str
    folder: str
    name: str
    reason: str


class Removal(Struct, frozen=True):
    """`leaving`: ids of the files that may go. `in_place`: of those that are kept for the tree that they lie in alone:
    what was verified of them may go."""

    leaving: tuple[str, ...]
    kept: tuple[Kept, ...]
    in_place: tuple[str, ...] = ()


def of_preset(
    preset: Preset, catalogue: Catalogue, view: View, models: Mapping[str, ModelFile], references: References
) -> Removal:
    """Without `preset` itself: its files, but for those that other presets or saved workflows need, and those that only
    have the name of one."""
    kept, in_place = [], []
    for file in preset.files:
        others = installs.still_needed_by(file, preset, bringing(file.id, catalogue, view), view)
        reason = _reason([other.name for other in others], references.of(file.folder, file.name))
        if not reason and (model := models.get(file.id)):
            if view.is_another(file, model.size_bytes):
                reason = "is another file of that name"
            elif model.root != OURS:
                reason = _in_place(model)
                in_place.append(file.id)
        if reason:
            kept.append(Kept(file.id, file.folder, file.name, reason))
    return _removal([file.id for file in preset.files], kept, in_place)


def of_models(
    files: Iterable[ModelFile], catalogue: Catalogue, view: View, references: References, *, force: bool = False
) -> Removal:
    """`force`: also those that installed presets or saved workflows need; never those of a tree that is not ours."""
    files, kept = list(files), []
    for file in files:
        users = installs.users_of(file.id, bringing(file.id, catalogue, view), view)
        reason = "" if force else _reason([user.name for user in users], references.of(file.folder, file.name))
        if file.root != OURS:
            reason = _in_place(file)
        if reason:
            kept.append(Kept(file.id, file.folder, file.name, reason))
    return _removal([file.id for file in files], kept)


def bringing(artifact_id: str, catalogue: Catalogue, view: View) -> tuple[Preset, ...]:
    """The presets that bring the file, those among them that left the catalogue."""
    left = [preset for preset in departed(catalogue, view) if any(file.id == artifact_id for file in preset.files)]
    return (*catalogue.presets_with(artifact_id), *left)


def departed(catalogue: Catalogue, view: View) -> list[Preset]:
    """What is installed and has left the catalogue, as all of a user's presets do while their file cannot be read."""
    return [
        installs.as_preset(install)
        for id_, install in view.installs.items()
        if not installs.stands_in_no_catalogue(id_) and not catalogue.knows(id_)
    ]


def freed_bytes(leaving: Iterable[ModelFile], models: Iterable[ModelFile]) -> int:
    """What would be free without `leaving`. A file that keeps another of its names stays."""
    names: dict[tuple[int, int], list[ModelFile]] = {}
    for file in leaving:
        names.setdefault((file.device, file.inode), []).append(file)
    known = Counter((file.device, file.inode) for file in models)
    return sum(same[0].size_bytes for key, same in names.items() if len(same) >= max(known[key], same[0].links))


def _removal(ids: list[str], kept: list[Kept], in_place: Iterable[str] = ()) -> Removal:
    staying = {file.id for file in kept}
    return Removal(tuple(id_ for id_ in ids if id_ not in staying), tuple(kept), tuple(in_place))


def _in_place(model: ModelFile) -> str:
    return f"lies in {model.root}/, which is used and never changed"


def _reason(presets: list[str], workflows: tuple[str, ...]) -> str:
    """Empty where nothing needs it."""
    parts = [_listed("", presets), _listed("the workflow " if len(workflows) == 1 else "the workflows ", workflows)]
    found = " and ".join(part for part in parts if part)
    return f"needed by {found}" if found else ""


def _listed(what: str, names: Iterable[str]) -> str:
    names = list(names)
    if not names:
        return ""
    more = f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else ""
    return what + ", ".join(names[:NAMES_MAX]) + more
