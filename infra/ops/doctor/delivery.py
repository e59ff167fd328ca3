"""Rules about the way of a job from the dispatcher to the executor, and to the dead letters."""

from collections.abc import Iterator

from infra.local.emulators.pubsub import DEAD_LETTER_SUBSCRIPTION, PUSH_SUBSCRIPTION
from infra.local.processes.functions import DEAD_LETTER_TOPIC, JOBS_TOPIC
from infra.ops.doctor.facts import (
    EXECUTOR,
    PUSH_ACCOUNT,
    CheckResult,
    Function,
    Observed,
    Subscription,
)
from shared.settings import EnvironmentReader, read_max_attempts


def delivery_findings(observed: Observed) -> Iterator[CheckResult]:
    """Whether jobs reach the executor, and an operator those that it cannot finish."""
    for topic in (JOBS_TOPIC, DEAD_LETTER_TOPIC):
        if topic not in observed.topics:
            yield CheckResult(
                subject=topic, problem="there is no such topic", remedy=observed.apply
            )
    for name, rule in ((PUSH_SUBSCRIPTION, _push), (DEAD_LETTER_SUBSCRIPTION, _pull)):
        subscription = observed.subscriptions.get(name)
        problems = (
            ("there is no such subscription",)
            if subscription is None
            else rule(subscription, observed)
        )
        for problem in problems:
            yield CheckResult(subject=name, problem=problem, remedy=observed.apply)


def _push(subscription: Subscription, observed: Observed) -> Iterator[str]:
    if subscription.topic != JOBS_TOPIC:
        yield f"it is attached to {subscription.topic}, not to {JOBS_TOPIC}"
    if not subscription.active:
        yield "Pub/Sub says that it does not work: it was detached or may not push"
    executor = observed.functions.get(EXECUTOR)
    if not subscription.push_url:
        yield "pushing is paused: jobs wait"
    elif executor and subscription.push_url.rstrip("/") != executor.url.rstrip("/"):
        yield f"it pushes to {subscription.push_url}, and the executor is at {executor.url}"
    if observed.cloud is not None and subscription.push_url:
        yield from _token(subscription, executor, observed)
    if executor is not None:
        yield from _deadlines(subscription, executor)
    yield from _dead_letter_policy(subscription, executor)


def _token(
    subscription: Subscription, executor: Function | None, observed: Observed
) -> Iterator[str]:
    wanted = f"{PUSH_ACCOUNT}@{observed.project}.iam.gserviceaccount.com"
    if not subscription.push_account:
        yield "it pushes without a token: the executor answers 403"
        return
    if subscription.push_account != wanted:
        yield f"it pushes as {subscription.push_account}; only {wanted} may call the executor"
    # Without one of its own, a token is for the address that it is pushed to.
    audience = subscription.push_audience or subscription.push_url
    if executor and audience.rstrip("/") != executor.url.rstrip("/"):
        yield f"its tokens are for {audience}, and Cloud Run refuses all but {executor.url}"


def _deadlines(subscription: Subscription, executor: Function) -> Iterator[str]:
    if subscription.ack_deadline_seconds <= executor.timeout_seconds:
        yield (
            f"a message comes again after {subscription.ack_deadline_seconds} s, while its "
            f"first delivery may work for {executor.timeout_seconds} s"
        )


def _dead_letter_policy(subscription: Subscription, executor: Function | None) -> Iterator[str]:
    if subscription.dead_letter_topic is None:
        yield "it has no dead-letter policy: a message that crashes the executor comes for ever"
        return
    if subscription.dead_letter_topic != DEAD_LETTER_TOPIC:
        yield f"its dead letters go to {subscription.dead_letter_topic}"
    budget = read_max_attempts(EnvironmentReader(executor.environ if executor else {}))
    if subscription.max_deliveries is not None and subscription.max_deliveries <= budget:
        yield (
            f"it gives a message up after {subscription.max_deliveries} deliveries, within the "
            f"budget of {budget} attempts"
        )


def _pull(subscription: Subscription, observed: Observed) -> Iterator[str]:
    del observed
    if subscription.topic != DEAD_LETTER_TOPIC:
        yield f"it is attached to {subscription.topic}, not to {DEAD_LETTER_TOPIC}"
    if subscription.push_url:
        yield "it pushes: no operator can take its messages"
