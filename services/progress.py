"""How far each download is, live: a Redis hash for late comers and a channel for everyone else.

Lost with Redis, and made anew by the next download: nothing here is the truth about what was asked for.
"""

import time
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    import redis

CHANNEL = "suite:downloads"
BOARD_KEY = "suite:downloads"
# A stop request outlives the job it is for by at most this long.
STOP_SECONDS = 3600
# A running download reports several times a second: one that was silent for this long is no more.
SILENT_SECONDS = 10.0

FileState = Literal["missing", "queued", "downloading", "verifying", "paused", "failed", "cancelled", "present"]


class FileProgress(Struct, frozen=True):
    """The download of one artifact. Bytes, bytes per second, seconds. `at`: Unix seconds, set when it is published."""

    id: str
    state: FileState
    bytes_done: int = 0
    bytes_total: int | None = None
    bytes_per_second: float = 0.0
    eta_seconds: float | None = None
    error: str | None = None
    connections: int = 0
    at: float = 0.0

    @property
    def is_moving(self) -> bool:
        return self.state in {"downloading", "verifying"}


class Control(Struct, frozen=True):
    """What a running download has to know of everything around it.

    `stop`: someone asked it to. `active`: how many downloads fetch something now, itself among them.
    `promised_bytes`: how much the others of them still have to fetch.
    """

    stop: bool
    active: int
    promised_bytes: int


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(FileProgress).decode


class ProgressBoard:
    """What the worker writes and anyone may ask for."""

    def __init__(self, redis: "redis.Redis") -> None:
        self._redis = redis

    def publish(self, progress: FileProgress) -> None:
        data = encode(replace(progress, at=time.time()))
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hset(BOARD_KEY, progress.id, data)
            pipeline.publish(CHANNEL, data)
            pipeline.execute()

    def all(self) -> dict[str, FileProgress]:
        stored = self._redis.hgetall(BOARD_KEY)
        return {progress.id: progress for progress in map(decode, stored.values())}

    def forget(self, artifact_id: str) -> None:
        self._redis.hdel(BOARD_KEY, artifact_id)

    def allow(self, artifact_id: str) -> None:
        self._redis.delete(stop_key(artifact_id))

    def must_stop(self, artifact_id: str) -> bool:
        return bool(self._redis.exists(stop_key(artifact_id)))

    def control(self, artifact_id: str) -> Control:
        """For the download of `artifact_id`; asks Redis once."""
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.exists(stop_key(artifact_id))
            pipeline.hvals(BOARD_KEY)
            stop, stored = pipeline.execute()
        since = time.time() - SILENT_SECONDS
        others = [
            found
            for found in map(decode, stored)
            if found.id != artifact_id and found.state == "downloading" and found.at > since
        ]
        promised = sum(max(other.bytes_total - other.bytes_done, 0) for other in others if other.bytes_total)
        return Control(bool(stop), len(others) + 1, promised)


def stop_key(artifact_id: str) -> str:
    """What the dashboard sets, for STOP_SECONDS, to have the download of a file stopped."""
    return f"suite:stop:{artifact_id}"
