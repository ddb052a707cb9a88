"""What may be removed, and what has to stay because something else needs it."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from services import installs
from services.catalogue import Catalogue
from services.installs import View
from services.models import OURS, ModelFile
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
    """`leaving`: ids of the files that may go."""

    leaving: tuple[str, ...]
    kept: tuple[Kept, ...]


def of_preset(
    preset: Preset, catalogue: Catalogue, view: View, models: Mapping[str, ModelFile], references: References
) -> Removal:
    """Without `preset` itself: its files, but for those that other presets or saved workflows need."""
    kept = []
    for file in preset.files:
        others = installs.still_needed_by(file, preset, catalogue.presets_with(file.id), view)
        reason = _reason([other.name for other in others], references.of(file.folder, file.name))
        if not reason and (model := models.get(file.id)) and model.root != OURS:
            reason = _in_place(model)
        if reason:
            kept.append(Kept(file.id, file.folder, file.name, reason))
    return _removal([file.id for file in preset.files], kept)


def of_models(
    files: Iterable[ModelFile], catalogue: Catalogue, view: View, references: References, *, force: bool = False
) -> Removal:
    """`force`: also those that installed presets or saved workflows need; never those of a tree that is not ours."""
    files, kept = list(files), []
    for file in files:
        users = installs.users_of(file.id, catalogue.presets_with(file.id), view)
        reason = "" if force else _reason([user.name for user in users], references.of(file.folder, file.name))
        if file.root != OURS:
            reason = _in_place(file)
        if reason:
            kept.append(Kept(file.id, file.folder, file.name, reason))
    return _removal([file.id for file in files], kept)


def _removal(ids: list[str], kept: list[Kept]) -> Removal:
    staying = {file.id for file in kept}
    return Removal(tuple(id_ for id_ in ids if id_ not in staying), tuple(kept))


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
