"""`python -m bootstrap.health`: the container's health check. Ends with 0 when a user can sign in and install.

Not of ComfyUI: it may load for minutes, and when it cannot start, the dashboard says why; nothing would be won by
taking the container away.
"""

import sys
from collections.abc import Callable

from bootstrap.ready import redis_answers, status_of
from services import settings
from services.errors import InvalidSettings
from services.settings import Settings


def main() -> int:
    try:
        config = settings.from_environment()
    except InvalidSettings as error:
        print(error.message)
        return 1
    silent = [name for name, answers in checks(config).items() if not answers()]
    # Docker keeps the last lines, see `docker inspect`.
    print(f"no answer from {' and '.join(silent)}" if silent else "ok")
    return 1 if silent else 0


def checks(config: Settings) -> dict[str, Callable[[], bool]]:
    return {
        "the dashboard": lambda: status_of(config.dashboard_port, "/healthz") == 200,
        "Redis": lambda: redis_answers(config.redis_socket),
    }


if __name__ == "__main__":
    sys.exit(main())
