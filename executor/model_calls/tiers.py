"""At which service tier a call is asked for: a pure decision, and the rules behind it.

The cheapest tier is asked first, for as long as time is left for each dearer one. A dearer tier
is asked when that time is used up, or when the cheaper one takes no call before that: never
while a call at a cheaper tier is under way.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from executor.contract.tiers import ServiceTier
from executor.jobs.invocation import Invocation
from executor.ports import ModelRequest
from executor.settings import Backend, CallPolicy, GeminiSettings
from shared.domain.attempts import CallPurpose
from shared.domain.errors import GeminiAccessDenied, LlmProfileInvalid, StepError
from shared.domain.jobs import JobRecord
from shared.domain.waiting import patience_ends, service_tier_of

#: From the moment at which a job should be called for until it is: the sweep looks once a
#: minute, and an instance may have to start.
WAKING = timedelta(minutes=2)
#: So much time must be left for a call to begin at these tiers: what is likely to be stopped
#: before it has answered costs money and brings nothing
#: (https://ai.google.dev/gemini-api/docs/optimization).
LIKELY = {
    ServiceTier.DEFERRED: timedelta(hours=24),
    ServiceTier.FLEX: timedelta(minutes=3),
}
#: After so many calls that a tier broke off and billed, another one is asked.
MOST_BROKEN_OFF = 2
NEVER = datetime.max.replace(tzinfo=UTC)
#: https://docs.cloud.google.com/vertex-ai/generative-ai/docs/flex-paygo
_MOST_FLEX_BYTES = 20_000_000
_WITHOUT_FLEX = "gemini-4"
#: What surrounds the texts and images of a request.
_ENVELOPE_BYTES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TierChoice:
    """The tier to ask at now."""

    tier: ServiceTier
    #: All tiers at which the step may be asked for.
    may_reach: Sequence[ServiceTier]
    #: From then on a dearer tier is asked instead; None where there is none.
    dearer_at: datetime | None = None
    #: Then a call that is under way is stopped in favour of a dearer tier; None for never.
    stop_at: datetime | None = None


def choose_tier(
    tiers: Sequence[ServiceTier],
    *,
    now: datetime,
    until: datetime,
    apart: timedelta,
    refused_until: Mapping[ServiceTier, datetime] | None = None,
) -> TierChoice:
    """The cheapest tier that still makes sense.

    Args:
        tiers: those that may be asked, from the cheapest to the dearest; at least one.
        now: the time of day.
        until: when the report should be there.
        apart: the time that is kept for each dearer tier.
        refused_until: before when a tier takes no call, as far as it has said so.
    """
    refused_until = refused_until or {}
    for rank, tier in enumerate(tiers[:-1]):
        stop_at = until - apart * (len(tiers) - 1 - rank)
        dearer_at = stop_at - LIKELY.get(tier, timedelta(0))
        if now < dearer_at and refused_until.get(tier, now) < dearer_at:
            return TierChoice(
                tier=tier,
                may_reach=tiers,
                dearer_at=dearer_at,
                stop_at=stop_at if tier.slow else None,
            )
    return TierChoice(tier=tiers[-1], may_reach=tiers)


@dataclass(slots=True)
class TierRefusals:
    """What the tiers have said of one call so far."""

    until: dict[ServiceTier, datetime] = field(default_factory=dict)

    def learn(self, tier: ServiceTier, error: StepError, now: datetime) -> None:
        """Take in how a call at the tier failed.

        A refusal for good may be about the tier, which not every model and project has, or
        about what every tier refuses: the next one says which.
        """
        if error.refused:
            self.until[tier] = now + (error.retry_after or timedelta(0))
        elif isinstance(error, GeminiAccessDenied | LlmProfileInvalid):
            self.until[tier] = NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class TierPolicy:
    """Chooses the tier of a step's calls, by the settings and by what is known of the step."""

    gemini: GeminiSettings
    call_policy: CallPolicy

    def choice(
        self,
        invocation: Invocation,
        now: datetime,
        *,
        request: ModelRequest | None = None,
        purpose: CallPurpose = CallPurpose.REPORT,
        refusals: TierRefusals | None = None,
        at_least: ServiceTier | None = None,
    ) -> TierChoice:
        """The tier for the step's next call.

        Args:
            invocation: the job, and its run.
            now: the time of day.
            request: what will be asked, once that is known.
            purpose: of the call.
            refusals: what tiers have said of this call so far.
            at_least: no cheaper tier than this one.

        Raises:
            LlmProfileInvalid: no tier that the step may be asked at takes the request.
        """
        job, allowed = invocation.held.with_notes, self._tiers(invocation)
        fitting = allowed if request is None else self._taking(request, allowed)
        chosen = choose_tier(
            _narrowed(fitting, purpose, at_least),
            now=now,
            until=self.until(invocation),
            apart=timedelta(seconds=self.gemini.timeout_seconds) + WAKING,
            refused_until={
                **dict.fromkeys(_broken_off(job), NEVER),
                **(refusals.until if refusals else {}),
            },
        )
        may_stop = self.call_policy is CallPolicy.AT_LEAST_ONCE
        return TierChoice(
            tier=chosen.tier,
            may_reach=allowed,
            dearer_at=chosen.dearer_at,
            # What is stopped may be billed, and another call would be a second one.
            stop_at=chosen.stop_at if may_stop else None,
        )

    def until(self, invocation: Invocation) -> datetime:
        """When the step's report should be there."""
        patience, claimed_at = self.gemini.refusal_patience, invocation.held.record.claimed_at
        return patience_ends(invocation.run.data, invocation.step_id, claimed_at, patience)

    def _tiers(self, invocation: Invocation) -> Sequence[ServiceTier]:
        """Those of the environment, or the one of them that the step's profile names."""
        named = service_tier_of(invocation.run.data, invocation.step_id)
        narrowed = [tier for tier in self.gemini.service_tiers if tier == named]
        return narrowed or self.gemini.service_tiers

    def _taking(
        self, request: ModelRequest, tiers: Sequence[ServiceTier]
    ) -> Sequence[ServiceTier]:
        if self.gemini.backend is not Backend.VERTEX or ServiceTier.FLEX not in tiers:
            return tiers
        size_bytes, model = request_bytes(request), request.profile.model_name
        if size_bytes <= _MOST_FLEX_BYTES and not model.startswith(_WITHOUT_FLEX):
            return tiers
        others = [tier for tier in tiers if tier is not ServiceTier.FLEX]
        if not others:
            raise LlmProfileInvalid(
                f"llmProfile.serviceTier: flex does not take {model} with {size_bytes} bytes,"
                " and no other tier may be asked"
            )
        return others


def _narrowed(
    tiers: Sequence[ServiceTier], purpose: CallPurpose, at_least: ServiceTier | None
) -> Sequence[ServiceTier]:
    # What is to be repaired is known here alone: a refusal would lose it.
    patient = purpose is not CallPurpose.REPAIR
    return [
        tier
        for tier in tiers
        if (patient or not tier.slow) and not (at_least and at_least.is_dearer(tier))
    ] or tiers[-1:]


def request_bytes(request: ModelRequest) -> int:
    """About how many bytes the request has on the wire, rather more than less."""
    texts = [request.system_instruction, request.user_text]
    if request.correction is not None:
        texts += [request.correction.former_text or "", request.correction.instruction]
    # A character of JSON text is escaped to six at most, and base64 makes four bytes of three.
    text = sum(len(part.encode("utf-8", "surrogatepass")) for part in texts)
    images = sum(-(-len(image.data) // 3) * 4 for image in request.images)
    return text + images + _ENVELOPE_BYTES


def _broken_off(job: JobRecord) -> Sequence[ServiceTier]:
    """The tiers that have broken off calls of this claim, and billed them, too often."""
    failed = Counter(
        call.asked_tier
        for attempt in job.history
        for call in attempt.calls
        if call.code is not None and call.asked_tier is not None
    )
    return [ServiceTier(tier) for tier, times in failed.items() if times >= MOST_BROKEN_OFF]
