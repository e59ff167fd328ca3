"""The model as an evaluation calls it: its pace is told how calls end."""

from dataclasses import dataclass

from executor.ports import (
    BackgroundModel,
    CallState,
    KeptCall,
    LanguageModel,
    ModelAnswer,
    ModelRequest,
)
from infra.ops.evaluation.asking.pace import EvaluationPace
from shared.domain.errors import RateLimited


@dataclass(frozen=True, slots=True, kw_only=True)
class PacedModel:
    """Implements the LanguageModel port by another, and tells the pace how calls end."""

    model: LanguageModel
    pace: EvaluationPace

    async def generate(self, request: ModelRequest, *, timeout_seconds: float) -> ModelAnswer:
        """See the port."""
        try:
            answer = await self.model.generate(request, timeout_seconds=timeout_seconds)
        except RateLimited:
            self.pace.refused()
            raise
        self.pace.accepted()
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class PacedBackgroundModel:
    """Implements the BackgroundModel port likewise: a call is accepted once it has begun."""

    model: BackgroundModel
    pace: EvaluationPace

    async def begin(self, request: ModelRequest, *, timeout_seconds: float) -> str:
        """See the port."""
        try:
            call_id = await self.model.begin(request, timeout_seconds=timeout_seconds)
        except RateLimited:
            self.pace.refused()
            raise
        self.pace.accepted()
        return call_id

    async def fetch(self, call_id: str, *, timeout_seconds: float) -> CallState:
        """See the port."""
        return await self.model.fetch(call_id, timeout_seconds=timeout_seconds)

    async def describe(self, call_id: str, *, timeout_seconds: float) -> KeptCall | None:
        """See the port."""
        return await self.model.describe(call_id, timeout_seconds=timeout_seconds)

    async def stop(self, call_id: str, *, timeout_seconds: float) -> None:
        """See the port."""
        await self.model.stop(call_id, timeout_seconds=timeout_seconds)

    async def forget(self, call_id: str, *, ended: bool, timeout_seconds: float) -> None:
        """See the port."""
        await self.model.forget(call_id, ended=ended, timeout_seconds=timeout_seconds)
