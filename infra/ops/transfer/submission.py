"""Is a flow run in a file one that the worker takes? Every fault with its line. Pure."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from executor.contract.profile import parse_profile
from executor.contract.report_inputs import parse_report_inputs, resolve_sources
from executor.validation.strict_json import NotJson, parse_strict_json
from infra.ops.environment.stored_documents import map_at, text_at
from shared.domain.errors import FlowRunInvalid, WorkerError
from shared.domain.flow_run import LLM_REPORT, FlowRun, parse_flow_run
from shared.domain.steps import StepStatus

_MOST_FAULTS, _MOST_CHARS = 50, 300


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionFault:
    """What is wrong in the file."""

    #: From 1: the line of the last part of the path that is there.
    line: int
    path: str
    message: str

    def as_json(self) -> dict[str, Any]:
        """The fault as `runs submit --json` prints it."""
        return {"line": self.line, "path": self.path, "message": self.message}


def run_validator(contracts: Path) -> Draft202012Validator:
    """What holds a flow run against the contract in a folder, docs/reference/contracts."""
    schemas = [json.loads(file.read_text("utf-8")) for file in contracts.glob("*.schema.json")]
    named = [(str(schema["$id"]), DRAFT202012.create_resource(schema)) for schema in schemas]
    registry: Registry[Any] = Registry().with_resources(named)
    schema = registry.contents("urn:worker_llm_client:flow_run")
    validator: Draft202012Validator = _VALIDATOR(schema, registry=registry)
    return validator


def faults_in(data: bytes, validator: Draft202012Validator) -> Sequence[SubmissionFault]:
    """Everything that is wrong with the flow run in a file, by line; none where it is sound."""
    try:
        document = parse_strict_json(data)
    except NotJson as problem:
        line = _line_of_bad_json(data)
        return [SubmissionFault(line=line, path="", message=str(problem))]
    text = data.decode("utf-8")
    found = dict.fromkeys(_faults(document, validator))
    faults = [
        SubmissionFault(line=line_of(text, path), path=".".join(path), message=message)
        for path, message in found
    ]
    return sorted(faults, key=lambda fault: (fault.line, fault.path))[:_MOST_FAULTS]


def line_of(text: str, path: Sequence[str]) -> int:
    """The line, from 1, on which the last part of the path stands that the text has.

    Each name is looked for behind the one before it, which is right wherever a name does not
    also stand in a map in between.
    """
    place = 0
    for name in path:
        key = json.dumps(name, ensure_ascii=False)
        match = re.compile(re.escape(key) + r"\s*:").search(text, place)
        if match is not None:
            place = match.end()
    return text.count("\n", 0, place) + 1


def ready_reports(document: Mapping[str, Any]) -> int:
    """How many reports the worker begins with at once."""
    steps = map_at(document, "steps").values()
    return sum(
        text_at(step, "stepType") == LLM_REPORT and text_at(step, "status") == StepStatus.READY
        for step in steps
    )


def _as_a_whole(
    _validator: Any, pattern: str, value: Any, _schema: Any
) -> Iterator[ValidationError]:
    """Hold a text against a pattern of the contract, each of which is anchored at both ends.

    The `$` of JSON Schema is the end of the text (https://tc39.es/ecma262/#sec-compileassertion);
    the one of Python, which the library uses, also stands before a line break at the end.
    """
    if isinstance(value, str) and re.fullmatch(pattern, value) is None:
        yield ValidationError(f"{value!r} does not match {pattern!r}")


_VALIDATOR: Callable[..., Any] = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, {"pattern": _as_a_whole}
)


def _faults(
    document: Any, validator: Draft202012Validator
) -> Iterator[tuple[tuple[str, ...], str]]:
    for error in validator.iter_errors(document):
        yield tuple(map(str, error.absolute_path)), error.message[:_MOST_CHARS]
    if not isinstance(document, Mapping):
        return
    run_id = document.get("runId")
    if not isinstance(run_id, str):
        yield ("runId",), "a file needs it: it becomes the document's id"
        return
    try:
        run = parse_flow_run(run_id, document)
    except FlowRunInvalid as problem:
        yield (), problem.message
        return
    yield from _of_reports(run, document["steps"])


def _of_reports(
    run: FlowRun, steps: Mapping[str, Any]
) -> Iterator[tuple[tuple[str, ...], str]]:
    for step_id, step in run.steps.items():
        problem = run.dependency_problem(step)
        if problem is not None:
            yield ("steps", step_id, "dependsOn"), problem
        if not step.ours or step.status not in {StepStatus.PENDING, StepStatus.READY}:
            continue
        try:
            inputs = parse_report_inputs(steps[step_id])
            parse_profile(inputs.llm.llm_profile)
            if step.status is StepStatus.READY and run.dependencies_succeeded(step):
                resolve_sources(inputs, steps)
        except WorkerError as invalid:
            yield ("steps", step_id, "inputs"), invalid.message


def _line_of_bad_json(data: bytes) -> int:
    try:
        json.loads(data)
    except json.JSONDecodeError as problem:
        return problem.lineno
    except (ValueError, RecursionError):
        return 1
    return 1
