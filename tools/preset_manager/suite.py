"""The suite's programs, as far as this can reach them: whether they run, how far they are, what they are to stop."""

import socket
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from services.connections import redis_client
from services.doorbell import ring
from services.progress import STOP_SECONDS, FileProgress, ProgressBoard, stop_key
from services.settings import Settings

if TYPE_CHECKING:
    import redis

# Redis sits in the same container.
ANSWER_SECONDS = 2.0


class Suite:
    """Nothing here fails for a Redis that is away: without it nothing downloads, and nothing could be stopped."""

    def __init__(self, config: Settings) -> None:
        self._config = config

    def is_running(self) -> bool:
        """Whether what is asked for would be fetched by the suite's workers."""
        return self.has_reconciler() and self.has_redis()

    def has_reconciler(self) -> bool:
        """Whether someone is there to hear the doorbell."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller:
                caller.setblocking(False)
                caller.connect(str(self._config.doorbell_socket))
        except OSError:
            return False
        return True

    def has_redis(self) -> bool:
        if not self._config.redis_socket.exists():
            return False
        from redis.exceptions import RedisError

        try:
            return bool(self._redis.ping())
        except RedisError:
            return False

    def progress(self) -> Mapping[str, FileProgress]:
        """How far each download is, by artifact id; nothing without Redis."""
        if not self._config.redis_socket.exists():
            return {}
        from redis.exceptions import RedisError

        try:
            return ProgressBoard(self._redis).all()
        except RedisError:
            return {}

    def ring(self) -> None:
        ring(self._config.doorbell_socket)

    def stop(self, artifact_ids: Collection[str]) -> None:
        """Asks the workers to let go of these."""
        if not artifact_ids or not self.has_redis():
            return
        with self._redis.pipeline(transaction=False) as pipeline:
            for id_ in artifact_ids:
                pipeline.set(stop_key(id_), b"1", ex=STOP_SECONDS)
            pipeline.execute()

    def allow(self, artifact_ids: Collection[str]) -> None:
        """Takes `stop` back."""
        if artifact_ids and self.has_redis():
            self._redis.delete(*(stop_key(id_) for id_ in artifact_ids))

    @cached_property
    def _redis(self) -> "redis.Redis":
        return redis_client(self._config, ANSWER_SECONDS)
