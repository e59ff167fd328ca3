"""What each command prints with `--json`, as JSON Schema; no other field is ever printed.

Programs read it, so it is a contract: docs/reference/cli-json.schema.json is written from
here, and a test runs every command and holds what it prints against it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from infra.ops.dead_letter import Verdict
from infra.ops.diagnosis import Level
from infra.ops.registry import Standing
from infra.ops.report_verification import Standing as InputStanding
from shared.domain.jobs import JobState
from shared.domain.steps import OperatorMove

Shape: TypeAlias = Mapping[str, Any]

_TEXT: Shape = {"type": "string"}
_NUMBER: Shape = {"type": "number"}
_INTEGER: Shape = {"type": "integer"}
_FLAG: Shape = {"type": "boolean"}
_MOMENT: Shape = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$",
}
_SHA256: Shape = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


def _object(**properties: Shape) -> Shape:
    """An object with exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(items: Shape) -> Shape:
    return {"type": "array", "items": items}


def _map(values: Shape) -> Shape:
    return {"type": "object", "additionalProperties": values}


def _maybe(shape: Shape) -> Shape:
    return {"anyOf": [shape, {"type": "null"}]}


def _one_of(values: Iterable[str]) -> Shape:
    return {"enum": [str(value) for value in values]}


def _with(shape: Shape, **more: Shape) -> Shape:
    """The object with more properties."""
    return _object(**shape["properties"], **more)


_FINDING = _object(level=_one_of(Level), reason=_TEXT, remedy=_TEXT)
_ERROR = _object(code=_TEXT, message=_TEXT)
_CALL = _object(
    number=_maybe(_INTEGER),
    purpose=_TEXT,
    startedAt=_maybe(_MOMENT),
    endedAt=_maybe(_MOMENT),
    code=_maybe(_TEXT),
    finishReason=_maybe(_TEXT),
    tokens=_maybe(_INTEGER),
)
_ATTEMPT = _object(
    number=_maybe(_INTEGER),
    startedAt=_maybe(_MOMENT),
    storedAt=_maybe(_MOMENT),
    endedAt=_maybe(_MOMENT),
    code=_maybe(_TEXT),
    calls=_list(_CALL),
)
_JOB = _object(
    state=_one_of(JobState),
    attempt=_INTEGER,
    llmCalls=_INTEGER,
    claimId=_maybe(_TEXT),
    claimedAt=_maybe(_MOMENT),
    leaseOwner=_maybe(_TEXT),
    leaseExpiresAt=_maybe(_MOMENT),
    notBefore=_maybe(_MOMENT),
    wakeAt=_maybe(_MOMENT),
    lastCode=_maybe(_TEXT),
    attempts=_list(_ATTEMPT),
    acts=_list(_object(act=_TEXT, at=_maybe(_MOMENT), reason=_TEXT)),
)
#: Statuses are as stored, also where no contract has them.
_STEP = _object(
    stepId=_TEXT,
    stepType=_TEXT,
    status=_TEXT,
    timeframe=_maybe(_TEXT),
    dependsOn=_list(_TEXT),
    startedAt=_maybe(_MOMENT),
    finishedAt=_maybe(_MOMENT),
    ageSeconds=_maybe(_INTEGER),
    tokens=_maybe(_INTEGER),
    costUsd=_maybe(_NUMBER),
    model=_maybe(_TEXT),
    error=_maybe(_ERROR),
    gcsUri=_maybe(_TEXT),
    reused=_FLAG,
    job=_maybe(_JOB),
    finding=_FINDING,
)
_RUN = _object(
    runId=_TEXT,
    flowKey=_maybe(_TEXT),
    symbol=_maybe(_TEXT),
    status=_TEXT,
    createdAt=_maybe(_MOMENT),
    stepCounts=_map(_INTEGER),
    tokens=_INTEGER,
    costUsd=_maybe(_NUMBER),
    error=_maybe(_ERROR),
    finding=_maybe(_FINDING),
)
_LETTER = _object(
    messageId=_TEXT,
    publishedAt=_MOMENT,
    reason=_TEXT,
    runId=_maybe(_TEXT),
    stepId=_maybe(_TEXT),
    claimId=_maybe(_TEXT),
)
_DEMO_STEP = _object(
    runId=_TEXT,
    stepId=_TEXT,
    status=_TEXT,
    errorCode=_maybe(_TEXT),
    gcsUri=_maybe(_TEXT),
    llmCalls=_maybe(_INTEGER),
    durationMs=_maybe(_INTEGER),
)
_UP = _object(
    pid=_INTEGER,
    backend=_one_of(("emulators", "embedded")),
    project=_TEXT,
    bucket=_TEXT,
    objectFolder=_TEXT,
    logFolder=_TEXT,
    firestoreHost=_maybe(_TEXT),
    pubsubHost=_maybe(_TEXT),
    urls=_map(_TEXT),
)
_LOG_ENTRY: Shape = {
    "type": "object",
    "properties": {"time": _TEXT, "severity": _TEXT, "event": _TEXT},
    "required": ["time", "severity"],
}
_REPORT: Shape = {
    "type": "object",
    "properties": {"metadata": {"type": "object"}, "output": {"type": "object"}},
    "required": ["metadata", "output"],
}
_ACT = _object(runId=_TEXT, stepId=_TEXT, act=_one_of(OperatorMove), at=_MOMENT)
_PUBLISHED = _object(
    published=_list(_TEXT), unchanged=_list(_TEXT), different=_map(_maybe(_TEXT))
)
_DIFFERENCES = _object(
    differences=_list(
        _object(id=_TEXT, standing=_one_of(Standing), against=_maybe(_TEXT), diff=_TEXT)
    )
)
_ENTRIES = _list(_object(id=_TEXT, sha256=_TEXT, bytes=_INTEGER))
_INPUT = _object(name=_TEXT, place=_TEXT, standing=_one_of(InputStanding))
_REPLAY = _object(
    dryRun=_FLAG,
    counts=_object(**{str(verdict): _INTEGER for verdict in Verdict}),
    paidModelCalls=_object(atLeast=_INTEGER, atMost=_INTEGER),
    letters=_list(_with(_LETTER, verdict=_one_of(Verdict), why=_TEXT)),
)

#: Commands that print one object a line, each of the shape.
PER_LINE = frozenset({"runs watch", "steps logs"})
SHAPES: Mapping[str, Shape] = {
    "bundle": _object(path=_TEXT, files=_INTEGER, sha256=_SHA256),
    "console": _object(environment=_TEXT, url=_TEXT),
    "dead-letters discard": _object(dryRun=_FLAG, discarded=_list(_LETTER)),
    "dead-letters list": _object(letters=_list(_LETTER), limit=_INTEGER),
    "dead-letters replay": _REPLAY,
    "dead-letters show": _with(
        _LETTER, attributes=_map(_TEXT), bytes=_INTEGER, replay=_one_of(Verdict), why=_TEXT
    ),
    "demo": _object(
        backend=_TEXT,
        steps=_list(_DEMO_STEP),
        firestoreCalls=_INTEGER,
        unexpected=_list(_TEXT),
    ),
    "doctor": _object(
        environment=_TEXT,
        findings=_list(_object(level=_TEXT, subject=_TEXT, problem=_TEXT, remedy=_TEXT)),
    ),
    "prompts diff": _DIFFERENCES,
    "prompts list": _object(prompts=_ENTRIES),
    "prompts publish": _PUBLISHED,
    # The artifact itself; docs/reference/contracts/report.schema.json describes it.
    "report show": _REPORT,
    "report verify": _object(
        uri=_TEXT,
        verified=_FLAG,
        inputDigest=_TEXT,
        recomputedDigest=_maybe(_TEXT),
        inputs=_list(_INPUT),
    ),
    "run": _object(
        steps=_list(
            _object(
                stepId=_TEXT,
                status=_TEXT,
                report=_maybe(_TEXT),
                error=_maybe({"type": "object"}),
            )
        )
    ),
    "runs list": _object(runs=_list(_RUN)),
    "runs show": _with(_RUN, steps=_list(_STEP)),
    "runs watch": _STEP,
    "schemas diff": _DIFFERENCES,
    "schemas hash": _object(
        hashes=_list(_object(id=_TEXT, sha256=_SHA256, warnings=_list(_TEXT)))
    ),
    "schemas list": _object(schemas=_ENTRIES),
    "schemas publish": _PUBLISHED,
    "smoke": _object(
        model=_TEXT, runs=_object(positive=_TEXT, negative=_TEXT), problems=_list(_TEXT)
    ),
    "steps cancel": _ACT,
    # As the functions logged them; docs/reference/log-events.md has the fields.
    "steps logs": _LOG_ENTRY,
    "steps rerun": _ACT,
    "steps show": _with(_STEP, runId=_TEXT),
    "up": _UP,
}


def json_shapes() -> str:
    """`docs/reference/cli-json.schema.json`."""
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What the commands of worker-llm print with --json, by command",
        "$comment": "Written by `make docs-generated` from infra/docs/json_shapes.py.",
        "$defs": dict(SHAPES),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
