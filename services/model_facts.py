"""What was read from the heads of model files, kept in one file on the volume: ten thousand heads are read once.

A fact is void as soon as its file's size or modification time changes.
"""

import threading
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from services import log
from services.base_models import Source, base_model
from services.cached_file import read_small
from services.errors import NotEnoughSpace
from services.model_headers import format_of, read_header
from services.models import ModelFile
from services.workspace import Workspace, write_atomic

# Grows with what is told from a head: facts of an older one are read again.
RULES = 1

_log = log.get("model_facts")


class ModelFact(Struct, frozen=True, omit_defaults=True, gc=False):
    """`parameters` counts elements; `problem` says why the file cannot be loaded. None is what nobody can tell."""

    size_bytes: int
    mtime_ns: int
    format: str
    dtype: str | None = None
    parameters: int | None = None
    base_model: str | None = None
    base_model_from: Source | None = None
    problem: str | None = None

    def holds_for(self, file: ModelFile) -> bool:
        return (self.size_bytes, self.mtime_ns) == (file.size_bytes, file.mtime_ns)


class _Kept(Struct):
    rules: int
    facts: dict[str, ModelFact]


class ModelFacts:
    """The facts of one workspace, by model id. Everything but `get` and `version` is blocking."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._file = workspace.config / "model_facts.json"
        self._facts: dict[str, ModelFact] = {}
        self._lock = threading.Lock()
        self._is_saved = True
        # Grows with every fact.
        self.version = 0

    def load(self) -> None:
        """What cannot be read is read from the models again. Raises OSError when the volume does not answer."""
        try:
            kept = msgspec.json.decode(read_small(self._file), type=_Kept)
        except FileNotFoundError:
            return
        except (ValueError, RecursionError) as error:
            _log.warning("model_facts_unreadable", file=str(self._file), reason=str(error))
            return
        if kept.rules == RULES:
            self._facts = kept.facts
            self.version += 1

    def get(self, file: ModelFile) -> ModelFact | None:
        """None until it was read."""
        fact = self._facts.get(file.id)
        return fact if fact is not None and fact.holds_for(file) else None

    def unread(self, files: Iterable[ModelFile]) -> list[ModelFile]:
        return [file for file in files if self.get(file) is None]

    def read(self, file: ModelFile) -> None:
        """Raises OSError when the volume does not answer."""
        fact = _read(self._workspace, file)
        if fact is not None:
            self._facts[file.id] = fact
            self._is_saved = False
            self.version += 1

    def keep_only(self, ids: Iterable[str]) -> None:
        """Forgets the facts of files that are gone."""
        present = set(ids)
        self._facts = {id_: fact for id_, fact in self._facts.items() if id_ in present}

    def save(self) -> None:
        """As far as the volume takes it: what is not kept is read again."""
        with self._lock:
            if self._is_saved:
                return
            self._is_saved = True
            try:
                # What could not be read may be by the next start.
                facts = {id_: fact for id_, fact in list(self._facts.items()) if fact.problem is None}
                write_atomic(self._file, msgspec.json.encode(_Kept(RULES, facts)))
            except (NotEnoughSpace, OSError) as error:
                self._is_saved = False
                _log.warning("model_facts_not_kept", file=str(self._file), reason=str(error))


def _read(workspace: Workspace, file: ModelFile) -> ModelFact | None:
    """None for a file that is gone. Raises OSError when the volume does not answer."""
    try:
        # As it was found, whatever its name: the search follows no link below a folder.
        header = read_header(workspace.root / file.path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        # Nobody else's fault if the volume answers otherwise.
        workspace.root.stat()
        problem = f"it cannot be read: {error.strerror or error}"
        return ModelFact(file.size_bytes, file.mtime_ns, format_of(file.name), problem=problem)
    found = base_model(file.folder, file.name, header)
    return ModelFact(
        size_bytes=file.size_bytes,
        mtime_ns=file.mtime_ns,
        format=header.format,
        dtype=header.dtype,
        parameters=header.parameters,
        base_model=found.name if found else None,
        base_model_from=found.source if found else None,
        problem=header.problem,
    )
