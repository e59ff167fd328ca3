"""The report's place: created once, recognized afterwards, never passed off as another's."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from executor.contract.artifacts import GcsUri
from executor.ports import (
    ObjectExists,
    ObjectInfo,
    ObjectsRefused,
    ObjectsUnavailable,
    StoredObject,
)
from executor.reports.receipt import Receipt
from executor.reports.store import ReportStore
from shared.domain.errors import (
    ArtifactConflict,
    GcsWriteFailed,
    GcsWriteRefused,
    StepError,
    TimeBudgetExceeded,
)
from shared.domain.identifiers import ClaimId, PromptId
from shared.domain.jobs import BackgroundCall
from shared.ports import PortFailure
from tests.support.held_job import START, Documents, held, invocation, queued, virtually

URI = GcsUri("reports", "run/1d/step.json")
RECEIPT = Receipt(
    prompt_id=PromptId("llm_prompt_1d_report_v1_0"),
    prompt_sha256="p",
    schema_sha256="s",
    profile_sha256="f",
    objects=(),
)
OTHER = replace(RECEIPT, prompt_sha256="other")
DOCUMENT: Mapping[str, Any] = {"output": {}}


@dataclass
class Objects:
    """Implements the ObjectStore port for one place; `fault` befalls the next call."""

    stored: dict[GcsUri, ObjectInfo] = field(default_factory=dict)
    written: bytes = b""
    fault: str = ""
    timeouts: list[float] = field(default_factory=list)

    async def stat(self, uri: GcsUri, *, timeout_seconds: float) -> ObjectInfo | None:
        self.timeouts.append(timeout_seconds)
        if self._fault() == "down":
            raise ObjectsUnavailable("as told")
        return self.stored.get(uri)

    async def read(self, uri: GcsUri, **how: Any) -> StoredObject:
        raise AssertionError("a report is never read here")

    async def create(
        self,
        uri: GcsUri,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str],
        timeout_seconds: float,
    ) -> None:
        assert content_type == "application/json"
        self.timeouts.append(timeout_seconds)
        fault = self._fault()
        if fault == "down":
            raise ObjectsUnavailable("as told")
        if uri in self.stored:
            raise ObjectExists
        self.written = data
        self.stored[uri] = ObjectInfo(size_bytes=len(data), generation=1, metadata=metadata)
        if fault == "lost, and tried again by the library":
            raise ObjectExists

    async def prove_writable(self, uri: GcsUri, *, timeout_seconds: float) -> None:
        raise AssertionError("nothing is to be proved here")

    def _fault(self) -> str:
        fault, self.fault = self.fault, ""
        return fault


async def create(
    objects: Objects,
    receipt: Receipt = RECEIPT,
    *,
    claim: str = "c1",
    seconds: float = 540,
    document: Mapping[str, Any] = DOCUMENT,
) -> Any:
    job = await held(Documents(), replace(queued(), claim_id=ClaimId(claim)))
    work = invocation(job, seconds=seconds)
    return await ReportStore(objects=objects).create(URI, document, receipt, work)


async def of_this_claim(objects: Objects, claim: str) -> Any:
    job = await held(Documents(), replace(queued(), claim_id=ClaimId(claim)))
    return await ReportStore(objects=objects).of_this_claim(URI, invocation(job))


def test_a_stored_report_is_recognized_by_the_claim_that_stored_it() -> None:
    objects = Objects()
    stored = virtually(create(objects))

    assert virtually(of_this_claim(objects, "c1")) == stored
    assert virtually(of_this_claim(objects, "c2")) is None


@pytest.mark.parametrize(
    ("text", "written"), [("Ä\u2028\x00", "Ä\u2028\\u0000"), ("\ud800Ä", "?Ä")]
)
def test_a_report_is_indented_utf_8_whatever_it_says(text: str, written: str) -> None:
    objects = Objects()
    virtually(create(objects, document={"output": {"a": text, "b": [1, 2.5]}}))

    lines = ["{", '  "output": {', f'    "a": "{written}",', '    "b": [', "      1,"]
    lines += ["      2.5", "    ]", "  }", "}"]
    assert objects.written.decode() == "\n".join(lines)


def test_an_upload_whose_answer_was_lost_is_a_success() -> None:
    objects = Objects(fault="lost, and tried again by the library")

    stored = virtually(create(objects))

    assert stored.size_bytes == objects.stored[URI].size_bytes


def test_the_report_that_stands_is_the_truth_when_its_inputs_are_ours() -> None:
    objects = Objects()
    first = virtually(create(objects, claim="c1"))

    assert virtually(create(objects, claim="c2")) == first


def test_a_report_from_other_inputs_is_a_conflict_and_stays() -> None:
    objects = Objects()
    virtually(create(objects, OTHER))
    before = objects.stored[URI]

    with pytest.raises(ArtifactConflict):
        virtually(create(objects))

    assert objects.stored[URI] == before


def test_an_upload_that_is_not_answered_is_tried_again_with_the_same_report() -> None:
    objects = Objects(fault="down")

    stored = virtually(create(objects))

    assert stored.size_bytes == objects.stored[URI].size_bytes
    assert len(objects.timeouts) == 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (ObjectsUnavailable("no answer in time"), GcsWriteFailed),
        (ObjectsRefused("403 Forbidden: look at the roles"), GcsWriteRefused),
        (ObjectsRefused("400 Bad Request"), GcsWriteRefused),
    ],
)
def test_a_place_that_takes_nothing_is_tried_until_the_time_is_over_and_says_why(
    fault: PortFailure, error: type[StepError]
) -> None:
    objects = Unwilling(fault=fault)

    async def play() -> float:
        loop = asyncio.get_running_loop()
        with pytest.raises(error, match=str(fault)) as raised:
            await create(objects, seconds=540)
        assert raised.value.retryable == (error is GcsWriteFailed)
        return loop.time()

    # Half of the reserve of 60 seconds may be used.
    assert 480 <= virtually(play()) <= 510
    assert objects.tries > 10


def test_a_place_that_takes_reports_again_after_minutes_gets_the_one_that_was_paid_for() -> (
    None
):
    objects = Unwilling(fault=ObjectsRefused("403 Forbidden"), until=300)

    stored = virtually(create(objects, seconds=540))

    assert stored.uri == URI


def test_an_answer_that_the_provider_keeps_is_not_waited_with() -> None:
    objects = Unwilling(fault=ObjectsUnavailable("no answer in time"))
    call = BackgroundCall(id="c", begun_at=START, input_digest="d")

    async def play() -> None:
        job = await held(Documents(), replace(queued(), interaction=call))
        store = ReportStore(objects=objects)
        with pytest.raises(GcsWriteFailed):
            await store.create(URI, DOCUMENT, RECEIPT, invocation(job, seconds=540))

    virtually(play())
    assert objects.tries == 1


class Unwilling(Objects):
    """Takes nothing until so many seconds have passed, or nothing at all."""

    def __init__(self, *, fault: PortFailure, until: float = math.inf) -> None:
        super().__init__()
        self.trouble = fault
        self.until = until
        self.tries = 0

    async def create(self, uri: GcsUri, data: bytes, **how: Any) -> None:
        self.tries += 1
        if asyncio.get_running_loop().time() < self.until:
            raise self.trouble
        await Objects.create(self, uri, data, **how)


def test_storing_what_was_paid_for_may_use_half_of_the_reserve() -> None:
    objects = Objects()
    virtually(create(objects, seconds=60))

    assert objects.timeouts == [30]


def test_the_other_half_is_left_alone() -> None:
    with pytest.raises(TimeBudgetExceeded):
        virtually(create(Objects(), seconds=30.5))
