"""The report's place: created once, recognized afterwards, never passed off as another's."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from executor.ports import ObjectExists, ObjectInfo, ObjectsUnavailable, StoredObject
from executor.receipt import Receipt
from executor.report_store import ReportStore
from shared.domain.artifacts import GcsUri
from shared.domain.errors import ArtifactConflict, GcsWriteFailed, TimeBudgetExceeded
from shared.domain.identifiers import ClaimId, PromptId
from tests.held_job import Documents, held, invocation, queued, virtually

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


@dataclass(slots=True)
class Objects:
    """Implements the ObjectStore port for one place; `fault` befalls the next call."""

    stored: dict[GcsUri, ObjectInfo] = field(default_factory=dict)
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
        self.stored[uri] = ObjectInfo(size_bytes=len(data), generation=1, metadata=metadata)
        if fault == "lost, and tried again by the library":
            raise ObjectExists

    def _fault(self) -> str:
        fault, self.fault = self.fault, ""
        return fault


async def create(
    objects: Objects, receipt: Receipt = RECEIPT, *, claim: str = "c1", seconds: float = 540
) -> Any:
    job = await held(Documents(), replace(queued(), claim_id=ClaimId(claim)))
    work = invocation(job, seconds=seconds)
    return await ReportStore(objects=objects).create(URI, DOCUMENT, receipt, work)


async def of_this_claim(objects: Objects, claim: str) -> Any:
    job = await held(Documents(), replace(queued(), claim_id=ClaimId(claim)))
    return await ReportStore(objects=objects).of_this_claim(URI, invocation(job))


def test_a_stored_report_is_recognized_by_the_claim_that_stored_it() -> None:
    objects = Objects()
    stored = virtually(create(objects))

    assert virtually(of_this_claim(objects, "c1")) == stored
    assert virtually(of_this_claim(objects, "c2")) is None


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


def test_a_store_that_does_not_answer_is_worth_another_attempt() -> None:
    with pytest.raises(GcsWriteFailed) as raised:
        virtually(create(Objects(fault="down")))

    assert raised.value.retryable


def test_storing_what_was_paid_for_may_use_half_of_the_reserve() -> None:
    objects = Objects()
    virtually(create(objects, seconds=60))

    assert objects.timeouts == [30]


def test_the_other_half_is_left_alone() -> None:
    with pytest.raises(TimeBudgetExceeded):
        virtually(create(Objects(), seconds=30.5))
