"""Which models may be called: the allowlist with its retirement dates."""

from collections.abc import Mapping
from datetime import date, timedelta

from shared.domain.errors import LlmProfileInvalid

WARN_BEFORE = timedelta(days=30)


def check_model(name: str, allowed: Mapping[str, date | None], today: date) -> bool:
    """Whether the model retires soon. An empty allowlist allows every model.

    Raises:
        LlmProfileInvalid: the model is not listed, or its last day has passed.
    """
    if not allowed:
        return False
    if name not in allowed:
        raise LlmProfileInvalid(f"modelName: {name} is not in GEMINI_ALLOWED_MODELS")
    last_day = allowed[name]
    if last_day is None:
        return False
    if today > last_day:
        raise LlmProfileInvalid(f"modelName: {name} was retired after {last_day}")
    return last_day - today <= WARN_BEFORE
