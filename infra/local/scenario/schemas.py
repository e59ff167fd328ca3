"""The output schemas of the demo: the contract's reference schema, and one with details.

The second keeps to keywords that Gemini documents for structured output
(https://ai.google.dev/gemini-api/docs/structured-output), so that the model is held to all
of it and not only the validation afterwards.
"""

from executor.contract.canonical import canonical_hash
from infra.local.scenario.model import Document

#: Its canonical hash is the reference value of the contract.
REFERENCE_SCHEMA_ID = "llm_schema_1M_report_v1_0"
#: Schemas never change once published, so the date is theirs and not the run's.
_PUBLISHED_AT = "2026-01-02T08:00:00Z"
_STRENGTH = ["WEAK", "MODERATE", "STRONG"]


def schema_id(timeframe: str) -> str:
    """The id of the schema that the timeframe's report uses."""
    if timeframe == "1M":
        return REFERENCE_SCHEMA_ID
    return f"llm_schema_{timeframe}_report_technical_v1_0"


def schema_documents() -> dict[str, Document]:
    """The registry's schemas by id; new documents at each call."""
    documents = [_document("1M", "Summary, and details of any shape.", _reference_schema())]
    documents += [
        _document(timeframe, "Trend, levels, momentum and scenarios.", _technical_schema())
        for timeframe in ("1w", "1d", "4h")
    ]
    return {document["schemaId"]: document for document in documents}


def _document(timeframe: str, description: str, json_schema: Document) -> Document:
    return {
        "schemaId": schema_id(timeframe),
        "kind": "LLM_REPORT_OUTPUT",
        "createdAt": _PUBLISHED_AT,
        "description": description,
        "jsonSchema": json_schema,
        "sha256": canonical_hash(json_schema),
        "isActive": True,
    }


def _reference_schema() -> Document:
    details = {
        "type": "object",
        "description": "Arbitrary detailed JSON (schema may evolve).",
        "additionalProperties": True,
    }
    return _object(summary=_summary(), details=details)


def _technical_schema() -> Document:
    return _object(summary=_summary(), details=_details())


def _summary() -> Document:
    return _object(markdown=_text("Human-readable report summary in Markdown."))


def _details() -> Document:
    return _object(
        trend=_object(
            direction=_choice("UPTREND", "DOWNTREND", "SIDEWAYS"),
            strength=_choice(*_STRENGTH),
            evidence=_text("Swings and averages on which this rests, with candle times."),
        ),
        supportLevels=_list(_level(), "Below the last close, the nearest first.", most=5),
        resistanceLevels=_list(_level(), "Above the last close, the nearest first.", most=5),
        momentum=_object(
            state=_choice("OVERBOUGHT", "BULLISH", "NEUTRAL", "BEARISH", "OVERSOLD"),
            volatility=_choice("FALLING", "STABLE", "RISING"),
            comment=_text("What changed within the last candles."),
        ),
        scenarios=_list(_scenario(), "The likeliest first.", least=2, most=3),
        risks=_list(_text("One risk or open question."), "The gravest first.", most=5),
        previousReport=_choice("NOT_GIVEN", "CONFIRMED", "PARTLY_CONFIRMED", "CONTRADICTED"),
        confidence=_fraction("Confidence in the trend assessment, from 0 to 1."),
    )


def _level() -> Document:
    return _object(
        price=_number("The level's price."),
        strength=_choice(*_STRENGTH),
        reason=_text("Which candles respected it."),
    )


def _scenario() -> Document:
    return _object(
        name=_choice("BULLISH", "NEUTRAL", "BEARISH"),
        probability=_fraction("From 0 to 1; all scenarios together at most 1."),
        trigger=_text("What price has to do for this scenario to begin."),
        target={"type": ["number", "null"], "description": "The first target, if any."},
        invalidation=_number("The price that ends this scenario."),
    )


def _object(**properties: Document) -> Document:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


def _list(items: Document, description: str, *, least: int = 0, most: int) -> Document:
    return {
        "type": "array",
        "description": description,
        "items": items,
        "minItems": least,
        "maxItems": most,
    }


def _choice(*values: str) -> Document:
    return {"type": "string", "enum": list(values)}


def _text(description: str) -> Document:
    return {"type": "string", "description": description}


def _number(description: str) -> Document:
    return {"type": "number", "description": description}


def _fraction(description: str) -> Document:
    return {"type": "number", "minimum": 0, "maximum": 1, "description": description}
