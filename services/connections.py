"""The one Redis pool and the one HTTP client of a process."""

import asyncio
from typing import TYPE_CHECKING

from services.lean_imports import without_rich
from services.settings import Settings

if TYPE_CHECKING:
    import httpx
    import redis
    import redis.asyncio

# Redis sits on a unix socket in the same container: what takes longer than this is down.
REDIS_TIMEOUT_SECONDS = 5.0
# Longer than any command here blocks; RQ sets its own for its queue.
REDIS_READ_SECONDS = 30.0


def redis_client(settings: Settings, read_seconds: float = REDIS_READ_SECONDS) -> "redis.Redis":
    """For workers and the reconciler. RQ wants bytes, so nothing is decoded.

    Tries once more and no longer: when the suite stops, Redis is gone before its clients are.
    """
    import redis
    from redis.backoff import ConstantBackoff
    from redis.retry import Retry

    return redis.Redis(
        unix_socket_path=str(settings.redis_socket),
        socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
        socket_timeout=read_seconds,
        health_check_interval=30,
        retry=Retry(ConstantBackoff(0.1), 1),
    )


def async_redis_client(settings: Settings) -> "redis.asyncio.Redis":
    """For the dashboard."""
    import redis.asyncio

    return redis.asyncio.Redis(
        unix_socket_path=str(settings.redis_socket),
        socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
        health_check_interval=30,
    )


def comfyui_client(settings: Settings) -> "httpx.AsyncClient":
    """Straight to ComfyUI on loopback, past nginx and any proxy of the environment."""
    with without_rich():
        import httpx

    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{settings.comfyui_loopback_port}",
        timeout=httpx.Timeout(10.0, connect=2.0),
        limits=httpx.Limits(max_connections=16, max_keepalive_connections=4),
        trust_env=False,
        # Plain http to loopback: loading the certificates of the world would cost 5 MB.
        verify=False,  # noqa: S501
    )


async def close(redis_pool: "redis.asyncio.Redis", http: "httpx.AsyncClient") -> None:
    await asyncio.gather(redis_pool.aclose(), http.aclose())
