"""One reading of the volume: presets, installs, models, workflows."""

from collections.abc import Mapping

from msgspec import Struct

from services.catalogue import Catalogue
from services.installs import View
from services.models import ModelFile
from services.references import References
from services.workflows import SavedWorkflow

# Of a file: inode, mtime and ctime in nanoseconds, size; empty where there is none.
FileVersion = tuple[int, ...]


class Shelf(Struct, frozen=True):
    """`version` grows with every one that differs. `last_used`: Unix seconds by model id.

    `is_complete`: False while the first scan of the models is under way.
    """

    version: int
    catalogue: Catalogue
    view: View
    models: Mapping[str, ModelFile]
    workflows: tuple[SavedWorkflow, ...]
    references: References
    last_used: Mapping[str, float]
    is_complete: bool = True
    user_presets_version: FileVersion | None = None
