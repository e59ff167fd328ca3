"""What the options of `worker-llm eval` mean, checked before anything is read or asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from executor.billing.prices import parse_usd
from infra.failures import CannotBeDone
from infra.ops.checks.declared import read_checks
from infra.ops.checks.library import Check
from infra.ops.cli.options import Where
from infra.ops.evaluation.asking.variants import Variant, VariantInvalid, read_variant
from infra.ops.evaluation.cases.environment_past import CaseSelection
from infra.ops.evaluation.cases.gathering import FolderPlaces
from infra.ops.evaluation.evaluating import Evaluation
from infra.ops.evaluation.findings.fail_if import parse_condition
from infra.ops.evaluation.findings.results import measures_with
from shared.domain.identifiers import is_model_name


class OptionInvalid(CannotBeDone):
    """An option's value cannot be understood; the message names it and says why."""

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options as they were given."""

    runs: Path | None
    variants: Sequence[str]
    checks: Sequence[Path]
    fail_if: Sequence[str]
    since: str | None
    symbol: str | None
    timeframe: str | None
    sample: int
    seed: int
    out: Path
    max_cost: str
    parallel: int
    calls_per_minute: float
    pay_lost_calls: bool
    backend: str | None
    effects: Path | None
    judge: str | None


def evaluation_of(where: Where, options: Options) -> Evaluation:
    """The evaluation that is meant.

    Raises:
        OptionInvalid: an option's value cannot be understood.
        VariantInvalid: a variant cannot, or two have one name, or there is only one.
        ChecksInvalid: a file declares no checks.
        ConditionInvalid: a condition cannot be understood.
        OSError: a file cannot be read.
    """
    checks = _checks(options.checks)
    measures = measures_with(list(checks))
    return Evaluation(
        variants=_variants(options.variants),
        places=FolderPlaces(runs=options.runs) if options.runs else None,
        where=where,
        selection=CaseSelection(
            since=day(options.since),
            symbol=options.symbol,
            timeframe=options.timeframe,
            sample=options.sample,
            seed=options.seed,
        ),
        out=options.out,
        checks=checks,
        conditions=[parse_condition(text, measures) for text in options.fail_if],
        max_cost=checked_cost(options.max_cost),
        parallel=options.parallel,
        calls_per_minute=options.calls_per_minute,
        backend=options.backend,
        effects=options.effects,
        pay_lost_calls=options.pay_lost_calls,
        judge=_judge(options.judge),
    )


def checked_cost(text: str) -> str:
    """The amount, if it is one.

    Raises:
        OptionInvalid: it is none.
    """
    try:
        return text if not text or parse_usd(text) else ""
    except ValueError:
        raise OptionInvalid(
            f"--max-cost {text!r}: must be an amount of USD such as 2.50"
        ) from None


def _judge(name: str | None) -> str | None:
    if name is not None and not is_model_name(name):
        raise OptionInvalid(f"--judge {name!r}: must be a model's name, such as gemma-3-27b-it")
    return name


def _variants(texts: Sequence[str]) -> Sequence[Variant]:
    variants = [read_variant(text) for text in texts]
    names = [each.name for each in variants]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise VariantInvalid(f"two variants are called {twice}: name one with NAME=FILE")
    if len(variants) < 2:  # noqa: PLR2004 - a comparison has two sides
        raise VariantInvalid("give --variant twice at least: the baseline, and what is new")
    return variants


def _checks(paths: Sequence[Path]) -> dict[str, Check]:
    together: dict[str, Check] = {}
    for path in paths:
        found = read_checks(path)
        twice = next(iter(together.keys() & found.keys()), None)
        if twice is not None:
            raise OptionInvalid(f"{path}: another file declares the check {twice} too")
        together.update(found)
    return together


def day(text: str | None) -> datetime | None:
    """The day, its beginning in UTC.

    Raises:
        OptionInvalid: it is none.
    """
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise OptionInvalid(f"--since {text!r}: must be a day, YYYY-MM-DD") from None
