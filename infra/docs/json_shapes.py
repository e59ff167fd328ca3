"""What each command prints with `--json`, as JSON Schema; no other field is ever printed.

Programs read it, so it is a contract: docs/reference/cli-json.schema.json is written from
here, and a test runs every command and holds what it prints against it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from executor.contract.tiers import ServiceTier
from infra.ops.comparison.sequential import Decision
from infra.ops.dead_letters.letter import Verdict
from infra.ops.evaluation.findings.verdicts import Judgement
from infra.ops.quota.view import QuotaStanding
from infra.ops.registry.documents import Standing
from infra.ops.reports.verification import InputState
from infra.ops.runs.diagnosis import Level
from infra.ops.smoke.hooks import Hooks
from infra.ops.spend.reconciling import DisagreementKind
from infra.ops.steps.acts import Note
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
    cutOffAt=_maybe(_MOMENT),
    endedAt=_maybe(_MOMENT),
    code=_maybe(_TEXT),
    finishReason=_maybe(_TEXT),
    model=_maybe(_TEXT),
    askedTier=_maybe(_TEXT),
    tier=_maybe(_TEXT),
    tokens=_maybe(_INTEGER),
    costUsd=_maybe(_NUMBER),
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
    acts=_list(
        _object(
            act=_TEXT,
            at=_maybe(_MOMENT),
            reason=_TEXT,
            by=_maybe(_TEXT),
            via=_maybe(_TEXT),
            claimId=_maybe(_TEXT),
        )
    ),
    claimNumber=_INTEGER,
    formerClaims=_list(
        _object(
            number=_maybe(_INTEGER),
            claimId=_maybe(_TEXT),
            claimedAt=_maybe(_MOMENT),
            state=_TEXT,
            code=_maybe(_TEXT),
            llmCalls=_INTEGER,
            costUsd=_maybe(_NUMBER),
            attempts=_list(_ATTEMPT),
        )
    ),
    acknowledged=_FLAG,
    refusals=_INTEGER,
    patienceUntil=_maybe(_TEXT),
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
_VERDICT = _object(
    candidate=_TEXT,
    measure=_TEXT,
    finding=_one_of(Judgement),
    baseline=_NUMBER,
    value=_NUMBER,
    difference=_NUMBER,
    low=_NUMBER,
    high=_NUMBER,
    cases=_INTEGER,
    neededCases=_maybe(_INTEGER),
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
_CALLS_FORECAST = _object(atLeast=_INTEGER, atMost=_INTEGER)
_ACT = _object(
    environment=_TEXT,
    runId=_TEXT,
    stepId=_TEXT,
    act=_one_of([*OperatorMove, *Note]),
    at=_MOMENT,
    by=_TEXT,
    reason=_TEXT,
    claimId=_maybe(_TEXT),
    paidModelCalls=_CALLS_FORECAST,
    dryRun=_FLAG,
)
_BULK = _object(
    environment=_TEXT,
    act=_one_of(OperatorMove),
    by=_TEXT,
    reason=_TEXT,
    paidModelCalls=_CALLS_FORECAST,
    dryRun=_FLAG,
    steps=_list(
        _object(
            runId=_TEXT,
            stepId=_TEXT,
            claimId=_maybe(_TEXT),
            code=_maybe(_TEXT),
            refused=_maybe(_TEXT),
        )
    ),
)
_CAUSE = _object(
    code=_TEXT,
    message=_TEXT,
    reason=_TEXT,
    remedy=_TEXT,
    steps=_list(_object(runId=_TEXT, stepId=_maybe(_TEXT))),
)
_PUBLISHED = _object(
    published=_list(_TEXT), unchanged=_list(_TEXT), different=_map(_maybe(_TEXT))
)
_DIFFERENCES = _object(
    differences=_list(
        _object(id=_TEXT, standing=_one_of(Standing), against=_maybe(_TEXT), diff=_TEXT)
    )
)
_ENTRIES = _list(_object(id=_TEXT, sha256=_TEXT, bytes=_INTEGER, evaluation=_maybe(_SHA256)))
_SHOWN_ENTRY = _object(
    id=_TEXT,
    sha256=_TEXT,
    bytes=_INTEGER,
    document={"type": "object"},
    versions=_list(_TEXT),
    usedBy=_list(_object(runId=_TEXT, stepId=_TEXT)),
    lookedAt=_INTEGER,
)
_QUOTA = _object(
    place=_TEXT,
    model=_TEXT,
    endpoint=_TEXT,
    tier=_one_of(ServiceTier),
    standing=_one_of(QuotaStanding),
    configuredPerMinute=_maybe(_NUMBER),
    learnedPerMinute=_maybe(_NUMBER),
    allowedPerMinute=_maybe(_NUMBER),
    taken=_INTEGER,
    refused=_INTEGER,
    minutes=_list(_object(at=_MOMENT, taken=_INTEGER, refused=_INTEGER)),
    strikes=_INTEGER,
    resumeAt=_maybe(_MOMENT),
    waiting=_maybe(
        _object(
            jobs=_INTEGER,
            lastSlotAt=_MOMENT,
            patienceUntil=_maybe(_MOMENT),
            patienceUsed=_maybe(_NUMBER),
        )
    ),
)
_INPUT = _object(name=_TEXT, place=_TEXT, standing=_one_of(InputState))
_REPLAY = _object(
    dryRun=_FLAG,
    counts=_object(**{str(verdict): _INTEGER for verdict in Verdict}),
    paidModelCalls=_CALLS_FORECAST,
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
    "prompts show": _SHOWN_ENTRY,
    "quota": _object(quotas=_list(_QUOTA), cut=_FLAG),
    "report compare": _object(
        a=_TEXT,
        b=_TEXT,
        fields=_list(
            _object(
                path=_TEXT,
                a=_maybe(_TEXT),
                b=_maybe(_TEXT),
                difference=_maybe(_TEXT),
                changed=_FLAG,
            )
        ),
    ),
    "report export": _object(path=_TEXT, bytes=_INTEGER, report=_TEXT),
    # The artifact itself; docs/reference/contracts/report.schema.json describes it.
    "report show": _REPORT,
    "report verify": _object(
        uri=_TEXT,
        verified=_FLAG,
        inputDigest=_TEXT,
        recomputedDigest=_maybe(_TEXT),
        inputs=_list(_INPUT),
    ),
    "eval run": _object(
        digest=_SHA256,
        results=_TEXT,
        page=_TEXT,
        cases=_INTEGER,
        excluded=_map(_TEXT),
        unanswered=_INTEGER,
        asked=_INTEGER,
        ceilingReached=_FLAG,
        failed=_FLAG,
        verdicts=_list(_VERDICT),
    ),
    "eval watch": _object(
        decision=_one_of(Decision),
        control=_object(good=_INTEGER, ended=_INTEGER),
        canary=_object(good=_INTEGER, ended=_INTEGER),
        low=_NUMBER,
        high=_NUMBER,
    ),
    "samples": _object(folder=_TEXT, runs=_INTEGER),
    "run": _object(
        steps=_list(
            _object(
                stepId=_TEXT,
                status=_TEXT,
                report=_maybe(_TEXT),
                error=_maybe({"type": "object"}),
                reused=_FLAG,
                repaired=_FLAG,
                calls=_INTEGER,
                tokensIn=_maybe(_INTEGER),
                tokensOut=_maybe(_INTEGER),
                costUsd=_maybe(_NUMBER),
                latencyMs=_maybe(_INTEGER),
            )
        )
    ),
    "runs attention": _object(
        total=_INTEGER, acknowledged=_INTEGER, cut=_list(_TEXT), causes=_list(_CAUSE)
    ),
    "runs list": _object(
        runs=_list(_RUN), next=_maybe(_TEXT), lookedAt=_INTEGER, backTo=_maybe(_MOMENT)
    ),
    "runs export": _object(folder=_TEXT, files=_list(_TEXT), missing=_list(_TEXT)),
    "runs submit": _object(
        submitted=_maybe(
            _object(environment=_TEXT, runId=_TEXT, paidModelCalls=_CALLS_FORECAST)
        ),
        faults=_list(_object(line=_INTEGER, path=_TEXT, message=_TEXT)),
    ),
    "runs show": _with(_RUN, steps=_list(_STEP)),
    "runs watch": _STEP,
    "schemas diff": _DIFFERENCES,
    "schemas hash": _object(
        hashes=_list(_object(id=_TEXT, sha256=_SHA256, warnings=_list(_TEXT)))
    ),
    "schemas list": _object(schemas=_ENTRIES),
    "schemas publish": _PUBLISHED,
    "schemas show": _SHOWN_ENTRY,
    "spend reconcile": _object(
        lines=_INTEGER,
        otherLines=_INTEGER,
        calls=_INTEGER,
        unreadableRecords=_INTEGER,
        billed=_TEXT,
        findings=_list(
            _object(
                kind=_one_of(DisagreementKind),
                run=_TEXT,
                step=_TEXT,
                claim=_TEXT,
                call=_maybe(_TEXT),
                line=_maybe(_INTEGER),
                cost=_maybe(_TEXT),
                says=_maybe(_TEXT),
            )
        ),
    ),
    "smoke": _object(
        model=_TEXT,
        runs=_object(positive=_TEXT, negative=_TEXT),
        hooks={"enum": list(Hooks)},
        problems=_list(_TEXT),
    ),
    "steps acknowledge": _ACT,
    "steps cancel": _ACT,
    # As the functions logged them; docs/reference/log-events.md has the fields.
    "steps logs": _LOG_ENTRY,
    "steps cancel-all": _BULK,
    "steps rerun": _ACT,
    "steps rerun-all": _BULK,
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
