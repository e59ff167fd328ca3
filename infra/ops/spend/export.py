"""A billing export as BigQuery writes it: one JSON object a line, or one array of them."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from executor.billing.labels import CALL, CLAIM, RUN, STEP
from infra.failures import CannotBeDone

#: A month of a busy project; read line by line all the same.
MAX_FILE_BYTES = 1_073_741_824
_MAX_LINE_BYTES = 1_048_576
_OURS = (RUN, STEP, CLAIM)
_TIERS = re.compile(r"\b(flex|priority|batch|deferred|offpeak|provisioned)\b", re.IGNORECASE)
STANDARD = "standard"
_OTHER_WORDS = {"offpeak": "deferred"}


class ExportInvalid(CannotBeDone):
    """The file is no billing export; the message says where and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledLine:
    """One line of the bill."""

    number: int
    #: By key, without what others labelled.
    labels: Mapping[str, str]
    sku: str
    cost: Decimal
    #: What identifies the line: two lines that are equal in it are one line, exported twice.
    identity: str

    @property
    def ours(self) -> bool:
        """Whether the labels are those of a call of the worker."""
        return all(self.labels.get(name) for name in _OURS)

    @property
    def claim(self) -> tuple[str, str, str]:
        """The labels of run, step and claim."""
        labels = self.labels
        return labels[RUN], labels[STEP], labels[CLAIM]

    @property
    def tier(self) -> str:
        """The service tier that the product's name says."""
        found = _TIERS.search(self.sku)
        tier = found[1].lower() if found else STANDARD
        return _OTHER_WORDS.get(tier, tier)


def read_export(path: Path) -> Iterator[BilledLine]:
    """The lines of an export of Cloud Billing.

    See https://cloud.google.com/billing/docs/how-to/export-data-bigquery-tables/standard-usage.

    Raises:
        ExportInvalid: it cannot be read, or a line is none of an export.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ExportInvalid(f"{path}: more than {MAX_FILE_BYTES} bytes")
        with path.open("rb") as file:
            for number, row in enumerate(_rows(file.read(1), path), start=1):
                yield _line(row, number, path)
    except OSError as problem:
        raise ExportInvalid(f"{path}: {problem.strerror}") from None


def _rows(first: bytes, path: Path) -> Iterator[Any]:
    if first == b"[":
        rows = _loaded(path.read_bytes(), 1, path)
        yield from rows if isinstance(rows, list) else [rows]
        return
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > _MAX_LINE_BYTES:
                raise ExportInvalid(f"{path}:{number}: more than {_MAX_LINE_BYTES} bytes")
            if line.strip():
                yield _loaded(line, number, path)


def _loaded(data: bytes, number: int, path: Path) -> Any:
    try:
        return json.loads(data, parse_float=Decimal)
    except (ValueError, RecursionError, ArithmeticError):
        raise ExportInvalid(f"{path}:{number}: not JSON") from None


def _line(row: Any, number: int, path: Path) -> BilledLine:
    if not isinstance(row, Mapping) or "cost" not in row:
        raise ExportInvalid(f"{path}:{number}: no line of a billing export: it has no cost")
    labels = row.get("labels")
    pairs = labels if isinstance(labels, list) else []
    found = {
        str(pair.get("key")): str(pair.get("value") or "")
        for pair in pairs
        if isinstance(pair, Mapping)
    }
    known = {name: found[name] for name in (*_OURS, CALL) if name in found}
    sku = row.get("sku")
    return BilledLine(
        number=number,
        labels=known,
        sku=str(sku.get("description") or sku.get("id")) if isinstance(sku, Mapping) else "",
        cost=_cost(row["cost"], number, path),
        identity=json.dumps(row, sort_keys=True, default=str),
    )


def _cost(value: Any, number: int, path: Path) -> Decimal:
    try:
        cost = Decimal(str(value))
    except InvalidOperation:
        cost = Decimal("NaN")
    if isinstance(value, bool) or not cost.is_finite():
        raise ExportInvalid(f"{path}:{number}: its cost is no number")
    return cost
