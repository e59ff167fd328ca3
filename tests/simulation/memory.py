"""Pure decisions that are slow and the same in every run are made only once."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from executor.validation import answer, report_schema

_FUNCTIONS = ((report_schema, "check_schema"), (answer, "first_errors"))
_known: dict[str, Any] = {}


@contextmanager
def remembered() -> Iterator[None]:
    """Check the same schema, and the same answer against it, only once per process."""
    originals = [getattr(module, name) for module, name in _FUNCTIONS]
    for (module, name), original in zip(_FUNCTIONS, originals, strict=True):
        setattr(module, name, _remembering(original))
    try:
        yield
    finally:
        for (module, name), original in zip(_FUNCTIONS, originals, strict=True):
            setattr(module, name, original)


def _remembering(function: Callable[..., Any]) -> Callable[..., Any]:
    def remembering(*values: Any, **options: Any) -> Any:
        key = json.dumps([function.__name__, values, options])
        if key not in _known:
            _known[key] = function(*values, **options)
        return _known[key]

    return remembering
