"""Which model files were checked, and found to be what they should be.

A record holds the file's size and modification time: it is void as soon as either changes, and listing never hashes.
"""

import os
from collections.abc import Iterable

from msgspec import Struct

from services import plain_tree
from services.artifacts import Artifact, model_id
from services.errors import InvalidName
from services.records import RecordFolder
from services.workspace import Workspace, figures_of


class Verified(Struct, frozen=True):
    """`sha256` is what was computed; `checked_against` says what it was held to."""

    folder: str
    name: str
    size_bytes: int
    mtime_ns: int
    sha256: str
    # "sha256": the digest that the preset or the hub names. "size": the length that the host or the preset names, no
    # digest being known.
    # "nothing": the host named neither, or nobody did: it was copied in by hand, or uploaded.
    checked_against: str

    def holds_for(self, figures: os.stat_result) -> bool:
        return (self.size_bytes, self.mtime_ns) == (figures.st_size, figures.st_mtime_ns)


class VerifiedFiles:
    """The verification records of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._records = RecordFolder(workspace.config / "verified", Verified)

    def put(self, record: Verified) -> None:
        self._records.put(model_id(record.folder, record.name), record)

    def delete(self, artifact_id: str) -> None:
        self._records.delete(artifact_id)

    def all(self) -> dict[str, Verified]:
        return self._records.all()

    def holding_for(self, artifacts: Iterable[Artifact]) -> dict[str, Verified]:
        """The records of those files that are on disk, unchanged since they were verified; by artifact id."""
        records = self._records.all()
        found = {}
        for artifact in artifacts:
            record = records.get(artifact.id)
            figures = self._figures(artifact) if record is not None else None
            if record is not None and figures is not None and record.holds_for(figures):
                found[artifact.id] = record
        return found

    def _figures(self, artifact: Artifact) -> os.stat_result | None:
        """None also where a link leads out of the models by now: what lies there was never verified."""
        try:
            own = figures_of(self._workspace.model_file(artifact.folder, artifact.name))
        except InvalidName:
            return None
        if own is not None:
            return own
        in_place = plain_tree.find(self._workspace, artifact.folder, artifact.name)
        return figures_of(in_place) if in_place else None
