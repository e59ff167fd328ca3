"""What a judge is told, and the form of its answer: the reason first, the verdict after it."""

from executor.contract.canonical import canonical_json, sha256_hex
from executor.contract.profile import KIND

PROMPT_ID = "llm_prompt_1d_report_judge_v1_0"
SCHEMA_ID = "llm_schema_1d_report_judge_v1_0"
PROMPT = {
    "schemaVersion": 1,
    "systemInstruction": (
        "You compare two technical analysis reports on the same market data. You are strict,"
        " and you judge what a report says, not how long it is or in which order it came."
    ),
    "userPrompt": (
        "The context holds candles, charts, and two reports made from them: first.json and"
        ' second.json, both under "Previous Report". Which one would you rather trade on?\n\n'
        "Judge in this order: whether its figures agree with the candles; whether its"
        " conclusions follow from them; whether it says what would prove it wrong; whether it"
        " is clear. Their order was drawn by lot and means nothing.\n\n"
        "In summary.markdown, say in at most 100 words what decides. Then set details.better to"
        " FIRST or SECOND, or to EQUAL where you would trade on either."
    ),
}
_JSON_SCHEMA = {
    "type": "object",
    "properties": {
        "summary": {
            "type": "object",
            "properties": {"markdown": {"type": "string"}},
            "required": ["markdown"],
        },
        "details": {
            "type": "object",
            "properties": {"better": {"type": "string", "enum": ["FIRST", "SECOND", "EQUAL"]}},
            "required": ["better"],
        },
    },
    "required": ["summary", "details"],
    "propertyOrdering": ["summary", "details"],
}
SCHEMA = {
    "schemaId": SCHEMA_ID,
    "kind": KIND,
    "jsonSchema": _JSON_SCHEMA,
    "sha256": sha256_hex(canonical_json(_JSON_SCHEMA)),
}
