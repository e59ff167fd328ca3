"""The job as a Celery task on Redis.

Acknowledged late, which the guide has for tasks that are idempotent, and rejected when its
process is lost (https://docs.celeryq.dev/en/v5.6.3/userguide/tasks.html). To be idempotent as
far as it can, the task looks for its report before it asks the model. Its id is the step's,
and one that succeeded is not run again when the broker redelivers it
(`worker_deduplicate_successful_tasks`,
https://docs.celeryq.dev/en/latest/userguide/configuration.html). Messages of a worker that
was killed come again after the visibility timeout, one hour unless set
(https://docs.celeryq.dev/en/4.4.0/getting-started/brokers/redis.html): 20 seconds here, as the
leases of this worker are short here too, and looked for every five seconds instead of every
hundred (https://docs.celeryq.dev/projects/kombu/en/stable/reference/kombu.transport.redis.html).

With `LOCK` set, a task runs one at a time, by a lock that expires, as the cookbook has it
(https://docs.celeryq.dev/en/v5.5.0/tutorials/task-cookbook.html). There, a task that finds
the lock taken ends; here it tries again later, as else a killed worker's step would be lost.
"""

import os
import sys
from collections.abc import Mapping
from typing import Any

from celery import Celery
from redis import Redis

from tests.benchmarks.rivals import job
from tests.benchmarks.rivals.front import run_front

_REDIS = os.environ.get("REDIS_URL", "")
_LOCK_SECONDS = 30
#: Waiting for messages, and what the driver asks.
_NOT_COUNTED = ("brpop", "mget", "info", "ping", "client", "config", "select", "hello", "keys")

app = Celery("reports", broker=f"{_REDIS}/0", backend=f"{_REDIS}/1")
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_deduplicate_successful_tasks=True,
    broker_transport_options={
        "visibility_timeout": 20,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
    },
    broker_connection_retry_on_startup=True,
)


@app.task(bind=True, name="report", max_retries=None)
def report(self: Any, step_id: str) -> str:
    """Do one step's job; the recorded result is the report's URI."""
    if not os.environ.get("LOCK"):
        return _done(step_id)
    locks, name = Redis.from_url(f"{_REDIS}/2"), f"lock:{step_id}"
    if not locks.set(name, "taken", nx=True, ex=_LOCK_SECONDS):
        raise self.retry(countdown=1)
    try:
        return _done(step_id)
    finally:
        locks.delete(name)


def _done(step_id: str) -> str:
    if job.is_stored(step_id):
        return job.report_uri(step_id)
    inputs = job.read_inputs()
    output = job.checked(job.ask_model(inputs), inputs["schema"])
    return job.store_report(step_id, output)


def deliver(step_id: str) -> None:
    """Send the step's message."""
    report.apply_async((step_id,), task_id=step_id)


def outcomes() -> Mapping[str, str]:
    """What the result backend holds."""
    backend = Redis.from_url(f"{_REDIS}/1", decode_responses=True)
    prefix = "celery-task-meta-"
    names = list(backend.keys(f"{prefix}*"))
    values = backend.mget(names) if names else []
    return {
        name.removeprefix(prefix): app.backend.decode(value)["status"]
        for name, value in zip(names, values, strict=True)
        if value
    }


def operations() -> int:
    """Commands that Redis ran so far, waiting aside."""
    stats = Redis.from_url(_REDIS).info("commandstats")
    return sum(
        entry["calls"]
        for name, entry in stats.items()
        if not name.removeprefix("cmdstat_").startswith(_NOT_COUNTED)
    )


if __name__ == "__main__":
    if sys.argv[1] == "front":
        run_front(deliver=deliver, outcomes=outcomes, operations=operations)
    else:
        quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
        app.worker_main(["worker", "--concurrency", "20", "--loglevel", "WARNING", *quiet])
