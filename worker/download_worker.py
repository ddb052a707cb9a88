"""RQ's worker, made to stop quickly and to leave nothing running behind."""

import contextlib
import ctypes
import logging
import os
import signal
from datetime import timedelta
from resource import struct_rusage
from types import FrameType
from typing import Any

from rq import Queue, Worker
from rq.executions import Execution
from rq.job import Job
from rq.utils import now

from services.errors import DownloadFailed, NotEnoughSpace
from worker import downloads

# One that was killed sooner after its start waits until the reconciler makes it anew.
SOON = timedelta(seconds=1)

# prctl(2): the signal a process gets when its parent dies.
_PR_SET_PDEATHSIG = 1


class DownloadWorker(Worker):
    """On SIGTERM the running download checkpoints and goes back to the head of the queue, instead of running to its
    end. A job process never outlives its worker: two would write to one file."""

    def handle_warm_shutdown_request(self) -> None:
        super().handle_warm_shutdown_request()
        if self.horse_pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.horse_pid, signal.SIGUSR1)

    def handle_work_horse_killed(self, job: Job, retpid: int, ret_val: int, rusage: struct_rusage) -> None:
        """A job whose process was killed goes on at once, unless dying is all it does."""
        super().handle_work_horse_killed(job, retpid, ret_val, rusage)
        if job.started_at is not None and now() - job.started_at > SOON:
            job.retries_left = 1

    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        try:
            return super().perform_job(job, queue, execution)
        finally:
            # RQ ends the job's process with os._exit, which waits for no log.
            logging.shutdown()

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """A file that cannot be had is no accident: the job has said why, in a line of its own. Everything else is
        logged with its traceback."""
        if not isinstance(exc_info[1], DownloadFailed | NotEnoughSpace):
            super().handle_exception(job, *exc_info)

    def setup_work_horse_signals(self) -> None:
        super().setup_work_horse_signals()
        signal.signal(signal.SIGUSR1, _stop)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:
            # The worker died between fork and prctl.
            os._exit(1)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    downloads.stop()
