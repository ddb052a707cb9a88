"""`python -m worker N`: the download worker number N, until told to stop."""

import gc
import sys

from redis.exceptions import RedisError
from rq.serializers import JSONSerializer

from services import log, settings
from services.connections import redis_client
from services.jobs import DownloadQueue, worker_name
from worker.download_worker import DownloadWorker

MONITORING_SECONDS = 5


def main(number: int) -> int:
    config = settings.from_environment()
    log.configure("worker", config.logs_dir / "downloads.log", config.log_level)
    connection = redis_client(config)
    try:
        connection.ping()
    except RedisError as error:
        # supervisord starts us again; Redis may just not be up yet.
        log.get("worker").warning("queue_not_ready", error=str(error))
        return 1
    worker = DownloadWorker(
        [DownloadQueue(connection).queue],
        name=worker_name(number),
        connection=connection,
        serializer=JSONSerializer,
        job_monitoring_interval=MONITORING_SECONDS,
    )
    # Every job is a fork: what is here by now need not be looked through, and so copied, in each of them.
    gc.freeze()
    worker.work(logging_level=config.log_level.upper())
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
