"""The page of what the doctor reads, from the table that it calls by."""

from infra.docs.markdown import page, table
from infra.ops.doctor.calls import CALLS, SCOPE

_INTRODUCTION = (
    "`worker-llm doctor` makes these calls and no other, and changes nothing: each is a GET, "
    "but for two policies that Google gives by POST alone. It works as a person, as a service "
    "account, and as one account acting as another: with whatever `gcloud auth "
    "application-default login`, a service account of a pipeline or "
    "`--impersonate-service-account` left as application default credentials. It asks for the "
    f"scope `{SCOPE}`, since most of the methods take no smaller one."
)
_MISSING = (
    "What the caller may not read is told with the permission that it lacks and the command "
    "that grants the role; nothing is said about what was not seen."
)


def doctor_page() -> str:
    """`docs/reference/doctor.md`."""
    rows = (
        (f"`{call.method}`", call.reads, f"`{call.permission}`", f"`{call.role}`")
        for call in CALLS
    )
    return page(
        "What the doctor reads",
        "infra/ops/doctor/calls.py",
        _INTRODUCTION,
        _MISSING,
        table(("method", "reads", "permission", "a role that has it"), rows),
    )
