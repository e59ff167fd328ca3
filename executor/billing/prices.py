"""What model calls cost: the price table, the bill of a call, and the most it can come to."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import NewType, TypeAlias

from executor.billing.usage import Tokens
from executor.contract.profile import MediaResolution
from executor.contract.tiers import ServiceTier
from executor.ports import ModelRequest

#: A millionth of a dollar. A price per million tokens is as many of them for one token.
MicroUsd = NewType("MicroUsd", int)

FREE = MicroUsd(0)
MICRO_USD_PER_USD = 1_000_000
#: The tokenizer falls back to single bytes and never below them: no text has more tokens than
#: bytes (https://github.com/google/sentencepiece, byte fallback).
_OVERHEAD_TOKENS = 1_000
#: The most that the API documents for an image, 2,240 tokens at ultra-high resolution
#: (https://ai.google.dev/gemini-api/docs/media-resolution), and room for models that cut one
#: into tiles of 258 (https://ai.google.dev/gemini-api/docs/tokens).
DEFAULT_IMAGE_TOKENS = 10_000
#: What an image counts as for these models, whatever its pixels
#: (https://ai.google.dev/gemini-api/docs/media-resolution).
_IMAGE_TOKENS = {
    MediaResolution.LOW: 280,
    MediaResolution.MEDIUM: 560,
    MediaResolution.HIGH: 1_120,
}
_COUNTED_EXACTLY = "gemini-3"
#: Above any price by orders of magnitude.
_MAX_PRICE = 1_000_000_000
_PRICES = ("input", "output", "cached", "thought")
_FIELDS = frozenset({"from", "imageTokens", "tiers", *_PRICES})
#: The tiers that may have a price of their own: the usual one is that of the entry itself.
_OTHER_TIERS = frozenset(ServiceTier) - {ServiceTier.STANDARD}


class PricesInvalid(ValueError):
    """The text is no price table; says where and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD per million tokens of a model, from a day on."""

    valid_from: date
    input: Decimal
    output: Decimal
    cached: Decimal
    thought: Decimal
    #: The most tokens that one image may count as.
    image_tokens: int = DEFAULT_IMAGE_TOKENS
    #: Of the other service tiers, as far as they are known.
    tiers: Mapping[ServiceTier, "Price"] = field(default_factory=dict)

    def at_tier(self, tier: ServiceTier) -> "Price | None":
        """The price of a call that is served at this tier; None where it is not known."""
        return self if tier is ServiceTier.STANDARD else self.tiers.get(tier)

    def of(self, tokens: Tokens) -> MicroUsd:
        """The bill, rounded up; tokens of an unknown kind are billed as the dearest."""
        fresh = max(tokens.input - tokens.cached, 0)
        exact = (
            fresh * self.input
            + tokens.cached * self.cached
            + tokens.output * self.output
            + tokens.thought * self.thought
            + tokens.unseen * max(self.input, self.cached, self.output, self.thought)
        )
        return MicroUsd(int(exact.to_integral_value(ROUND_CEILING)))

    def worst_case(self, request: ModelRequest, max_output_tokens: int) -> MicroUsd:
        """The most that the call can cost; thoughts share the limit of the output."""
        per_image = image_tokens(request) or self.image_tokens
        tokens = most_input_tokens(request, per_image)
        dearest_input, dearest_output = (
            max(self.input, self.cached),
            max(self.output, self.thought),
        )
        exact = tokens * dearest_input + max_output_tokens * dearest_output
        return MicroUsd(int(exact.to_integral_value(ROUND_CEILING)))


#: For each model, the latest price first.
PriceTable: TypeAlias = Mapping[str, Sequence[Price]]
NO_PRICES: PriceTable = {}


def price_on(table: PriceTable, model: str, day: date) -> Price | None:
    """The model's price on that day; None where the table has none."""
    return next((price for price in table.get(model, ()) if price.valid_from <= day), None)


def image_tokens(request: ModelRequest) -> int | None:
    """What each image of the request counts as; None where only a bound is known."""
    exact = request.profile.model_name.startswith(_COUNTED_EXACTLY)
    resolution = request.media_resolution
    return _IMAGE_TOKENS[resolution] if exact and resolution else None


def most_input_tokens(request: ModelRequest, image_tokens: int) -> int:
    """More tokens than the request can count as."""
    texts = [
        request.system_instruction,
        request.user_text,
        json.dumps(request.json_schema),
        *(request.profile.stop_sequences or ()),
    ]
    if request.correction is not None:
        texts += [request.correction.former_text or "", request.correction.instruction]
    size_bytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    return size_bytes + _OVERHEAD_TOKENS + image_tokens * len(request.images)


def parse_prices(text: str) -> PriceTable:
    """The table in a JSON text.

    Such as `{"gemini-x": [{"from": "2026-01-01", "input": "0.30", "output": "2.50"}]}`, in USD
    per million tokens; `cached` defaults to the price of input, `thought` to that of output.
    A model with a dearer price for long prompts is given that one. Other service tiers than
    the standard one are priced in `tiers`: `{"flex": {"input": "0.15", "output": "1.25"}}`.

    Raises:
        PricesInvalid: it is no such table.
    """
    try:
        models = json.loads(text, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError):
        raise PricesInvalid("not JSON") from None
    if not isinstance(models, dict):
        raise PricesInvalid("must map model names to lists of prices")
    return {name: _prices(name, entries) for name, entries in models.items()}


def parse_usd(text: str) -> MicroUsd:
    """An amount such as `2.50`, to the millionth.

    Raises:
        ValueError: it is no positive amount below a billion.
    """
    try:
        amount = Decimal(text) * MICRO_USD_PER_USD
    except ArithmeticError:
        raise ValueError("no amount of USD") from None
    if not amount.is_finite() or not 0 < amount < MICRO_USD_PER_USD**2:
        raise ValueError("no amount of USD")
    return MicroUsd(int(amount))


def usd(amount: MicroUsd) -> float:
    """The amount as documents and messages state it."""
    return amount / MICRO_USD_PER_USD


def _prices(model: str, entries: object) -> Sequence[Price]:
    if not isinstance(entries, list) or not entries:
        raise PricesInvalid(f"{model}: must be a list of prices")
    prices = [_price(f"{model}[{index}]", entry) for index, entry in enumerate(entries)]
    if len({price.valid_from for price in prices}) < len(prices):
        raise PricesInvalid(f"{model}: two prices are valid from the same day")
    return sorted(prices, key=lambda price: price.valid_from, reverse=True)


def _price(where: str, entry: object) -> Price:
    if not isinstance(entry, dict) or not entry.keys() <= _FIELDS:
        raise PricesInvalid(f"{where}: has only {', '.join(sorted(_FIELDS))}")
    try:
        valid_from = date.fromisoformat(entry["from"])
    except (KeyError, TypeError, ValueError):
        raise PricesInvalid(f"{where}.from: must be YYYY-MM-DD") from None
    image_tokens = entry.get("imageTokens", DEFAULT_IMAGE_TOKENS)
    if not isinstance(image_tokens, int) or image_tokens < 0:
        raise PricesInvalid(f"{where}.imageTokens: must be a whole number")
    price = _amounts(where, entry, valid_from, image_tokens)
    return replace(price, tiers=_tiers(f"{where}.tiers", entry.get("tiers", {}), price))


def _tiers(where: str, entries: object, standard: Price) -> Mapping[ServiceTier, Price]:
    if not isinstance(entries, dict) or not entries.keys() <= _OTHER_TIERS:
        raise PricesInvalid(f"{where}: has only {', '.join(sorted(_OTHER_TIERS))}")
    for name, entry in entries.items():
        if not isinstance(entry, dict) or not entry.keys() <= set(_PRICES):
            raise PricesInvalid(f"{where}.{name}: has only {', '.join(_PRICES)}")
    return {
        ServiceTier(name): _amounts(
            f"{where}.{name}", entry, standard.valid_from, standard.image_tokens
        )
        for name, entry in entries.items()
    }


def _amounts(
    where: str, entry: Mapping[str, object], valid_from: date, image_tokens: int
) -> Price:
    given = {name: _amount(f"{where}.{name}", entry[name]) for name in _PRICES if name in entry}
    if not {"input", "output"} <= given.keys():
        raise PricesInvalid(f"{where}: input and output are required")
    return Price(
        valid_from=valid_from,
        input=given["input"],
        output=given["output"],
        cached=given.get("cached", given["input"]),
        thought=given.get("thought", given["output"]),
        image_tokens=image_tokens,
    )


def _amount(where: str, value: object) -> Decimal:
    number = isinstance(value, str | int | Decimal) and not isinstance(value, bool)
    try:
        amount = Decimal(value) if number else Decimal("NaN")  # type: ignore[arg-type]
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= _MAX_PRICE:
        raise PricesInvalid(f"{where}: must be USD per million tokens")
    return amount
