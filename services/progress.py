"""How far each download is, live: a Redis hash for late comers and a channel for everyone else.

Lost with Redis, and made anew by the next download: nothing here is the truth about what was asked for.
"""

from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    import redis

CHANNEL = "suite:downloads"
BOARD_KEY = "suite:downloads"
# A stop request outlives the job it is for by at most this long.
STOP_SECONDS = 3600

FileState = Literal["missing", "queued", "downloading", "verifying", "failed", "cancelled", "present"]


class FileProgress(Struct, frozen=True):
    """The download of one artifact. Bytes, bytes per second, seconds."""

    id: str
    state: FileState
    bytes_done: int = 0
    bytes_total: int | None = None
    bytes_per_second: float = 0.0
    eta_seconds: float | None = None
    error: str | None = None


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(FileProgress).decode


class ProgressBoard:
    """What the worker writes and anyone may ask for."""

    def __init__(self, redis: "redis.Redis") -> None:
        self._redis = redis

    def publish(self, progress: FileProgress) -> None:
        data = encode(progress)
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


def stop_key(artifact_id: str) -> str:
    """What the dashboard sets, for STOP_SECONDS, to have the download of a file stopped."""
    return f"suite:stop:{artifact_id}"
