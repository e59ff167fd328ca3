"""What could not be read, and what makes it readable."""

from collections.abc import Iterator

from infra.ops.doctor.facts import CheckResult, NotRead, Observed


def unread_findings(observed: Observed) -> Iterator[CheckResult]:
    """A finding for each: nothing else is said about what was not seen."""
    for subject, why in observed.unreadable.items():
        yield CheckResult(
            subject=subject,
            problem=f"not checked, as it could not be read: {why.reason}",
            remedy=_readable(observed, why),
        )


def _readable(observed: Observed, why: NotRead) -> str:
    """What makes it readable."""
    project = observed.project
    if observed.cloud is None:
        return observed.apply
    if why.disabled in observed.cloud.services:
        return "it was enabled a moment ago: run the doctor again in a few minutes"
    if why.disabled:
        return f"gcloud services enable {why.disabled} --project {project}"
    if why.scope:
        return f"gcloud auth application-default login --scopes={why.scope}"
    if why.role:
        return (
            f"gcloud projects add-iam-policy-binding {project} --member={why.member} "
            f"--role={why.role}"
        )
    return "run the doctor again; if it stays: https://status.cloud.google.com"
