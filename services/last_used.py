"""When each model file was last used by a run, kept on the volume."""

import contextlib
import threading
from collections.abc import Iterable, Mapping

import msgspec

from services import log
from services.cached_file import CachedFile
from services.errors import NotEnoughSpace
from services.file_lock import held
from services.workspace import Workspace, write_atomic

_decode = msgspec.json.Decoder(dict[str, float]).decode


class LastUsed:
    """Unix seconds by model id. Blocking; safe to share between threads."""

    def __init__(self, workspace: Workspace) -> None:
        self._file: CachedFile[dict[str, float]] = CachedFile(workspace.config / "last_used.json", _decode, {})
        self._marking = threading.Lock()

    def all(self) -> Mapping[str, float]:
        """Raises OSError when the volume does not answer."""
        try:
            return self._file.get()
        except ValueError as error:
            log.get("library").warning("last_used_unreadable", file=str(self._file.file), error=str(error))
            return {}

    def mark(self, ids: Iterable[str], at: float) -> None:
        """Raises OSError. A full volume forgets it: it is no reason for anything to fail."""
        with self._marking, held(self._file.file), contextlib.suppress(NotEnoughSpace):
            times = {**self.all(), **dict.fromkeys(ids, at)}
            write_atomic(self._file.file, msgspec.json.encode(times, order="sorted"))
