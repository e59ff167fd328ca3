"""An evaluation never passes its ceiling, whatever calls cost and whenever its process dies."""

import asyncio
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor.billing.prices import FREE, MicroUsd, Price, parse_prices, parse_usd, usd
from executor.billing.usage import usage_tokens
from executor.ports import ModelAnswer, ModelRequest
from infra.local.gemini.answers import answer_for
from infra.ops.evaluation.evaluating import Ended, Evaluation, prepared
from tests.support.evaluated import evaluation_of_samples, sample_folder

CASES = 2
MODEL = "gemini-3.5-flash"
#: The most calls of a paid model in a minute. The test would really sleep through any pause
#: between calls.
UNPACED = 1e9


class Killed(BaseException):
    """The process ends here."""


@dataclass(slots=True, kw_only=True)
class BilledModel:
    """Implements the LanguageModel port; bills each call, and dies at one of them."""

    price: Price
    #: The part of the token limit that an answer takes, from 0 to 1.
    output_share: float
    dies_at: int
    #: Whether the process dies after the provider billed the call, before the answer came.
    dies_billed: bool
    valid: bool
    calls: int = 0
    bill: MicroUsd = FREE

    async def generate(self, request: ModelRequest, *, timeout_seconds: float) -> ModelAnswer:
        """Bill and answer."""
        del timeout_seconds
        self.calls += 1
        if self.calls == self.dies_at and not self.dies_billed:
            raise Killed
        most = request.profile.max_output_tokens or 0
        usage = {
            # This is far more than a tokenizer makes of the text, and within what is reserved.
            "promptTokenCount": len(request.user_text.encode()),
            "candidatesTokenCount": round(most * self.output_share),
        }
        usage["totalTokenCount"] = sum(usage.values())
        tokens = usage_tokens(usage)
        assert tokens is not None
        self.bill = MicroUsd(self.bill + self.price.of(tokens))
        if self.calls == self.dies_at:
            raise Killed
        text = answer_for(request.json_schema, seed=self.calls, markdown="m")
        return ModelAnswer(
            text=json.dumps(text if self.valid else {}),
            finish_reason="STOP",
            block_reason=None,
            model_version=MODEL,
            response_id=None,
            usage=usage,
        )


async def asked(evaluation: Evaluation, model: BilledModel) -> Ended | None:
    """How the evaluation ended; None if the process died."""
    try:
        async with prepared(evaluation) as ready:
            bench = replace(ready.bench, model=model)
            return await replace(ready, bench=bench).ask()
    except BaseExceptionGroup as group:
        if group.split(Killed)[1] is not None:
            raise
        return None


@contextmanager
def priced(table: str) -> Iterator[None]:
    """The environment of somebody who pays."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_PRICES", table)
        patch.setenv("GEMINI_API_KEY", "k")
        yield


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    input_price=st.integers(0, 40),
    output_price=st.integers(1, 400),
    ceiling_cents=st.integers(1, 400),
    output_share=st.floats(0, 1),
    dies_at=st.integers(1, 5),
    dies_billed=st.booleans(),
    valid=st.booleans(),
)
def test_the_bill_never_passes_the_ceiling(
    *,
    input_price: int,
    output_price: int,
    ceiling_cents: int,
    output_share: float,
    dies_at: int,
    dies_billed: bool,
    valid: bool,
) -> None:
    table = json.dumps(
        {
            MODEL: [
                {"from": "2020-01-01", "input": str(input_price), "output": str(output_price)}
            ]
        }
    )
    model = BilledModel(
        price=parse_prices(table)[MODEL][0],
        output_share=output_share,
        dies_at=dies_at,
        dies_billed=dies_billed,
        valid=valid,
    )
    ceiling = f"{ceiling_cents / 100:.2f}"
    with tempfile.TemporaryDirectory() as folder, priced(table):
        samples = sample_folder(Path(folder), CASES)
        evaluation = evaluation_of_samples(
            samples, Path(folder, "out"), max_cost=ceiling, calls_per_minute=UNPACED
        )

        async def twice() -> None:
            await asked(evaluation, model)
            # Its author would run it again; the former calls are on the same account.
            await asked(evaluation, model)

        asyncio.run(twice())

    assert model.bill <= parse_usd(ceiling), (usd(model.bill), ceiling)
