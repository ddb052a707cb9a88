import contextlib
import subprocess
import sys
from collections.abc import Callable

import redis

from bootstrap import health
from services.settings import APP_DIR, Settings
from tests.running import RunningSuite


def test_a_suite_of_which_nothing_runs_is_not_healthy(settings: Settings, redis_server: object) -> None:
    checks = health.checks(settings)
    assert not checks["the dashboard"]()
    assert checks["Redis"]()


def test_it_says_what_does_not_answer(new_suite: Callable[..., RunningSuite]) -> None:
    suite = new_suite()
    command = [sys.executable, "-m", "bootstrap.health"]
    done = subprocess.run(command, cwd=APP_DIR, env=suite.settings, stdout=subprocess.PIPE, text=True)
    assert (done.returncode, done.stdout) == (1, "no answer from the dashboard and Redis\n")


def test_a_suite_without_comfyui_is_healthy(new_suite: Callable[..., RunningSuite]) -> None:
    suite = new_suite().start()

    def healthy() -> bool:
        command = [sys.executable, "-m", "bootstrap.health"]
        return not subprocess.run(command, cwd=APP_DIR, env=suite.settings, stdout=subprocess.DEVNULL).returncode

    suite.wait_for(healthy, "the health check")
    with suite.redis() as client, contextlib.suppress(redis.ConnectionError):
        client.shutdown(nosave=True)
    suite.wait_for(healthy, "Redis to be started again")


def test_bad_settings_are_not_healthy() -> None:
    command = [sys.executable, "-m", "bootstrap.health"]
    done = subprocess.run(
        command,
        cwd=APP_DIR,
        env={"DASHBOARD_PORT": "eighty"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "DASHBOARD_PORT" in done.stdout
    assert done.stderr == ""
