"""The uploads of one workspace: begun, noted, ended."""

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

from msgspec.structs import replace

from services import log
from services.artifacts import model_id
from services.errors import Conflict, InvalidName, InvalidRequest, NotEnoughSpace, NotFound
from services.model_folders import model_folders
from services.records import RecordFolder
from services.space import no_room
from services.uploads.chunk import Chunk, space_is_named
from services.uploads.publishing import lies_there, publish
from services.uploads.upload import CHUNK_BYTES, Upload, Wish, data_file, gone, with_chunk
from services.verified import VerifiedFiles
from services.workspace import Workspace, figures_of, sync_folder

# An upload of which nothing came for this long is given up.
STALE_SECONDS = 7 * 86400.0
# How many that are over are still told of, to whoever asks how they ended.
ENDED_KEPT = 100

_MODE = 0o664
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC

_log = log.get("uploads")


class UploadBook:
    """The uploads of one workspace. Blocking; safe to share between threads.

    What failed or is done is remembered beside the records: a volume that is full takes no more of them.
    """

    def __init__(self, workspace: Workspace, comfyui_dir: Path, reserve_bytes: int) -> None:
        self._workspace = workspace
        self._comfyui_dir = comfyui_dir
        self._reserve_bytes = reserve_bytes
        self._records = RecordFolder(workspace.config / "uploads", Upload)
        self._verified = VerifiedFiles(workspace)
        self._ended: dict[str, Upload] = {}
        self._lock = threading.Lock()

    def all(self) -> dict[str, Upload]:
        return {**self._records.all(), **self._ended}

    def folders(self) -> tuple[str, ...]:
        """Where a file may go."""
        return model_folders(self._comfyui_dir)

    def get(self, id_: str) -> Upload:
        """Raises NotFound."""
        # What ended is the newer word.
        found = self._ended.get(id_)
        if found is None:
            with contextlib.suppress(InvalidName):
                found = self._records.get(id_)
        if found is None:
            raise NotFound(f"there is no upload '{id_[:100]}'")
        return found

    def promised_bytes(self, but: Upload | None = None) -> int:
        """What is to come yet of all uploads, without `but`. Raises OSError."""
        coming = [upload for upload in self.all().values() if upload.state == "receiving" and upload != but]
        return sum(upload.size_bytes - upload.bytes_done for upload in coming)

    def begin(self, wish: Wish, coming: Collection[str], promised_bytes: int) -> tuple[Upload, bool]:
        """The upload of that file, and whether it had begun before. `coming`: ids of the models that are being
        downloaded; `promised_bytes`: what their downloads still need.

        Raises InvalidName, InvalidRequest, Conflict, NotEnoughSpace, OSError.
        """
        target = self._target_of(wish)
        with self._lock:
            if lies_there(target):
                raise Conflict(f"a file named {wish.name} lies in {wish.folder}/ already: rename or delete it first")
            if model_id(wish.folder, wish.name) in coming:
                raise Conflict(f"{wish.folder}/{wish.name} is being downloaded: cancel that first")
            known = self._unfinished(wish)
            if known is not None and self._goes_on(known, wish, target):
                return self._with_digest(known, wish), True
            self._check_space(wish, promised_bytes, known, target)
            if known is not None:
                self._drop(known)
            return self._make(wish, target), False

    def delete(self, id_: str) -> None:
        """With its data. Raises NotFound, OSError."""
        with self._lock:
            self._drop(self.get(id_))

    def open_chunk(self, upload: Upload, number: int, digest: bytes | None) -> Chunk:
        """Chunk `number`, to be written and closed. `digest`: its sha256, where it was said.

        Raises NotFound, Conflict, OSError.
        """
        length = upload.chunk_bytes(number)
        try:
            descriptor = os.open(data_file(self._target(upload)), _FLAGS)
        except FileNotFoundError:
            raise gone(upload) from None
        return Chunk(descriptor, number * CHUNK_BYTES, length, digest)

    def note(self, id_: str, number: int) -> Upload:
        """Chunk `number` is certain. Raises NotFound when the upload was dropped meanwhile, NotEnoughSpace, OSError."""
        with self._lock:
            upload = self.get(id_)
            if upload.state != "receiving" or upload.has(number):
                return upload
            noted = replace(upload, received=with_chunk(upload.received, number), touched_at=time.time())
            self._records.put(id_, noted)
            return noted

    def complete(self, id_: str) -> Upload:
        """All was sent: it waits to be checked. Raises NotFound, Conflict, NotEnoughSpace, OSError."""
        with self._lock:
            upload = self.get(id_)
            if upload.state in {"checking", "done"}:
                return upload
            if not upload.is_whole:
                raise Conflict(
                    f"{upload.name} is not complete: {upload.bytes_done} of {upload.size_bytes} bytes are here",
                    {"received": upload.received, "chunks": upload.chunks},
                )
            checking = replace(upload, state="checking", error=None, touched_at=time.time())
            self._records.put(id_, checking)
            self._ended.pop(id_, None)
            return checking

    def check(self, id_: str, named: Collection[str], progress: Callable[[int], None]) -> Upload:
        """Hashes what was sent and gives it its name; how that ended, to be noted by `end`. `named`: the digests by
        which others know the file. `progress` is told how many bytes were read, and may end it by raising.

        Raises NotFound, OSError when the volume is the reason: to be tried again.
        """
        upload = self.get(id_)
        try:
            publish(upload, self._target(upload), self._verified, named, progress)
        except (Conflict, InvalidRequest, NotEnoughSpace) as error:
            return replace(upload, state="failed", error=error.message)
        return replace(upload, state="done")

    def end(self, upload: Upload) -> None:
        """As `check` found it. Raises NotFound when someone dropped it meanwhile, OSError."""
        with self._lock:
            self.get(upload.id)
            self._ended[upload.id] = upload
            for id_ in list(self._ended)[:-ENDED_KEPT]:
                del self._ended[id_]
            if upload.state == "done":
                self._records.delete(upload.id)
            else:
                # Without room for it, the check is made once more after a restart.
                with contextlib.suppress(NotEnoughSpace):
                    self._records.put(upload.id, upload)
        _log.info("upload_ended", upload_id=upload.id, state=upload.state, error=upload.error)

    def remove_stale(self) -> None:
        """Those that nobody goes on with. Raises OSError."""
        limit = time.time() - STALE_SECONDS
        for upload in self.all().values():
            if upload.touched_at < limit and upload.state in {"receiving", "failed"}:
                _log.info("upload_given_up", upload_id=upload.id, bytes_done=upload.bytes_done)
                with contextlib.suppress(NotFound, InvalidName):
                    self.delete(upload.id)

    def _target_of(self, wish: Wish) -> Path:
        target = self._workspace.new_model_file(wish.folder, wish.name)
        # Custom nodes bring folders of their own.
        if wish.folder not in model_folders(self._comfyui_dir) and not (self._workspace.models / wish.folder).is_dir():
            raise InvalidName(f"there is no model folder '{wish.folder}': ComfyUI would not look into it")
        return target

    def _target(self, upload: Upload) -> Path:
        return self._workspace.model_file(upload.folder, upload.name)

    def _unfinished(self, wish: Wish) -> Upload | None:
        mine = [
            upload
            for upload in self.all().values()
            if (upload.folder, upload.name) == (wish.folder, wish.name) and upload.state != "done"
        ]
        return mine[0] if mine else None

    def _goes_on(self, known: Upload, wish: Wish, target: Path) -> bool:
        """Whether `known` is the upload of that very file, with its data still here. Raises Conflict."""
        if known.state == "checking":
            raise Conflict(f"{wish.folder}/{wish.name} was sent already and is being checked")
        is_same = (known.size_bytes, known.version) == (wish.size_bytes, wish.version)
        data = figures_of(data_file(target))
        end = max((end for _, end in known.received), default=0) * CHUNK_BYTES
        is_here = data is not None and data.st_size >= min(end, known.size_bytes)
        is_same_digest = None in {wish.sha256, known.sha256} or wish.sha256 == known.sha256
        # What failed with its data here has only to be checked again.
        return is_same and is_same_digest and is_here

    def _with_digest(self, known: Upload, wish: Wish) -> Upload:
        """`known`, held to the digest that was not said at first."""
        if wish.sha256 is None or known.sha256 is not None:
            return known
        held = replace(known, sha256=wish.sha256)
        self._records.put(held.id, held)
        return held

    def _check_space(self, wish: Wish, promised_bytes: int, known: Upload | None, target: Path) -> None:
        promised = promised_bytes + self.promised_bytes(known)
        data = figures_of(data_file(target))
        # What lies there makes room; a file that was begun at its end is not as large as it looks.
        freed = min(data.st_size, data.st_blocks * 512) if data is not None else 0
        free = max(self._workspace.free_bytes() + freed - self._reserve_bytes - promised, 0)
        if wish.size_bytes > free:
            raise no_room(f"{wish.name}:", wish.size_bytes, free, self._reserve_bytes, promised)

    def _make(self, wish: Wish, target: Path) -> Upload:
        upload = Upload(
            secrets.token_hex(8), wish.folder, wish.name, wish.size_bytes, time.time(), wish.sha256, wish.version
        )
        # First: a record without data is given up some day, data without a record would lie there for ever.
        self._records.put(upload.id, upload)
        target.parent.mkdir(parents=True, exist_ok=True)
        data = data_file(target)
        data.unlink(missing_ok=True)
        with space_is_named():
            os.close(os.open(data, _FLAGS | os.O_CREAT | os.O_EXCL, _MODE))
        sync_folder(data.parent)
        return upload

    def _drop(self, upload: Upload) -> None:
        self._records.delete(upload.id)
        self._ended.pop(upload.id, None)
        if upload.state != "done":
            data_file(self._target(upload)).unlink(missing_ok=True)
