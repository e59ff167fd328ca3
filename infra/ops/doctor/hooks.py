"""Whether the provider's announcements of ended calls can arrive."""

from collections.abc import Iterator

from infra.ops.doctor.facts import (
    EXECUTOR,
    NOTIFY,
    CheckLevel,
    CheckResult,
    Function,
    Observed,
)

_EVERYBODY = "allUsers"


def hook_findings(observed: Observed) -> Iterator[CheckResult]:
    """What keeps hooks away.

    Without them steps take longer, and a call is paid for twice where its beginner dies before
    the call's id is recorded.
    """
    executor, notify = observed.functions.get(EXECUTOR), observed.functions.get(NOTIFY)
    if executor is None or "functions" in observed.unreadable:
        return
    for problem in _problems(executor, notify):
        yield CheckResult(
            subject=NOTIFY,
            problem=problem,
            remedy=observed.apply,
            level=CheckLevel.WARNING,
        )


def _problems(executor: Function, notify: Function | None) -> Iterator[str]:
    url = executor.environ.get("WEBHOOK_URL", "").rstrip("/")
    if notify is None:
        if url:
            yield "calls are announced to it, and there is no such function"
        return
    if notify.trouble:
        yield notify.trouble
    if not url:
        yield "no call is announced to it: the executor has no WEBHOOK_URL"
    elif url != notify.url.rstrip("/"):
        yield f"calls are announced at {url}, and it answers at {notify.url}"
    if notify.region:
        yield from _problems_of_deployed(executor, notify)


def _problems_of_deployed(executor: Function, notify: Function) -> Iterator[str]:
    """A local process has neither callers that are kept out nor a secret's version."""
    if notify.invokers is not None and _EVERYBODY not in notify.invokers:
        yield "the provider may not call it: only what everybody may call can be announced to"
    if notify.key is None:
        yield "it has no WEBHOOK_SECRET, and takes no hook"
    elif notify.key.state != "ENABLED":
        state = notify.key.state or "missing"
        yield f"version {notify.key.version} of {notify.key.secret} is {state}: it cannot start"
    elif executor.hook_secret is not None and executor.hook_secret != notify.key:
        signs = f"version {executor.hook_secret.version} of {executor.hook_secret.secret}"
        yield f"the executor signs with {signs}, and it checks with {notify.key.version}"
