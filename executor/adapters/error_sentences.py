"""The few sentences of the provider's messages that are known, and what they are about: pure.

A message can quote the request. Nothing of it is passed on but which of our own words fits.
"""

import re
from collections.abc import Sequence
from enum import StrEnum


class ErrorSubject(StrEnum):
    """What an error's message is about, where it is one of the sentences that are known."""

    API_KEY = "api_key"
    IMAGES = "images"
    INPUT_TOKENS = "input_tokens"
    REQUEST_SIZE = "request_size"
    SCHEMA = "schema"
    NO_QUOTA = "no_quota"  #: The limit is zero: this project may not use the model at all.
    NO_CREDIT = "no_credit"
    SPENDING_CAP = "spending_cap"  #: A monthly cap that people set and raise.
    SPENDING_RATE = "spending_rate"  #: The provider's own limit, over ten minutes.


#: In the order in which they are tried. Sentences that users report: browser-use#3740 and
#: gemini-cli#5064 (images), gemini-cli#6678 (tokens), gemini-cli#22486 (limit: 0). On spending:
#: https://ai.google.dev/gemini-api/docs/rate-limits.
_SENTENCES: tuple[tuple[ErrorSubject, re.Pattern[str]], ...] = tuple(
    (subject, re.compile(pattern, re.IGNORECASE | re.DOTALL))
    for subject, pattern in (
        (ErrorSubject.NO_QUOTA, r"\blimit: 0\b|does(n't| not) have a free (quota )?tier"),
        (
            ErrorSubject.NO_CREDIT,
            (
                r"prepa(y|id)"
                r"|(credit|balance|fund)s?\b.{0,40}(deplet|exhausted|used up|insuffic)"
                r"|(deplet|insuffic)\w*\b.{0,40}(credit|balance|funds)"
            ),
        ),
        (ErrorSubject.SPENDING_CAP, r"spend(ing)?[ -]cap|monthly (spend|budget)"),
        (ErrorSubject.SPENDING_RATE, r"spend(ing)?([ -]based)?( rate)?[ -]limit|spend-based"),
        (
            ErrorSubject.API_KEY,
            (
                r"api key (is |was )?(not valid|invalid|expired|not found|reported as leaked)"
                r"|(invalid|expired) api key"
            ),
        ),
        (
            ErrorSubject.IMAGES,
            (
                r"(process|decode|load|read|open)\w*\b.{0,24}\bimages?\b"
                r"|\bimages?\b.{0,40}(not valid|invalid|corrupt|cannot|could not|unsupported"
                r"|not supported|too (large|big|small)|dimensions)"
                r"|(invalid|unsupported|corrupt)\w* image|unsupported mime ?type"
            ),
        ),
        (
            ErrorSubject.INPUT_TOKENS,
            (
                r"input token count|too many input tokens|(input|prompt) (is )?too long"
                r"|input context|context (window|length)"
            ),
        ),
        (
            ErrorSubject.REQUEST_SIZE,
            r"payload size|(request|body|entity) (size|is)?.{0,12}(too large|exceed)",
        ),
        (
            ErrorSubject.SCHEMA,
            r"too many states|response_?(json_?)?schema|schema.{0,40}(too (complex|deep)|nest)",
        ),
    )
)


#: The fields of a profile, as messages may spell them.
_PARAMETERS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(rf"\b(?:{spelt})\b", re.IGNORECASE))
    for name, spelt in (
        ("maxOutputTokens", "max_?output_?tokens"),
        ("temperature", "temperature"),
        ("topP", "top_?p"),
        ("topK", "top_?k"),
        ("stopSequences", "stop_?sequences?"),
        ("candidateCount", "candidate_?count"),
        ("thinkingConfig", "thinking(_?(config|level|budget|summaries))?"),
        ("mediaResolution", "media_?resolution"),
        ("serviceTier", "service_?tier"),
    )
)


def subject_of(message: str) -> ErrorSubject | None:
    """What the message is about, where it is one of the sentences that are known."""
    return next((subject for subject, form in _SENTENCES if form.search(message)), None)


def named_parameters(message: str) -> Sequence[str]:
    """The fields of a profile that the message names, in a profile's own words."""
    return [name for name, form in _PARAMETERS if form.search(message)]
