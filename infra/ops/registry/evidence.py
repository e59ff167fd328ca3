"""The evaluation that speaks for a prompt or a schema: checked, and published with it."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.ops.environment.stored_documents import map_at, maps_at, text_at
from infra.ops.registry.files import Entry, FileInvalid

#: Field of a published document: the SHA-256 of the results that `worker-llm eval` wrote.
EVALUATION_FIELD = "evaluationSha256"
_MOST_BYTES = 64 * 1024 * 1024


def with_evidence(entries: Sequence[Entry], path: Path) -> Sequence[Entry]:
    """The entries with the evaluation's digest, which must be of exactly these contents.

    Raises:
        FileInvalid: the file holds no results, they speak of other contents, or a loss that
            was stated beforehand was found.
        OSError: the file cannot be read.
    """
    data = path.read_bytes() if path.stat().st_size <= _MOST_BYTES else b""
    try:
        results = json.loads(data)
    except (ValueError, RecursionError):
        results = None
    evaluated = dict(_evaluated(results))
    if not evaluated:
        raise FileInvalid(f"{path}: holds no results of an evaluation of a prompt or schema")
    if any(each.get("met") is not False for each in maps_at(results, "failIf")):
        raise FileInvalid(f"{path}: a loss that --fail-if states was found")
    other = next(
        (each.entry_id for each in entries if evaluated.get(each.entry_id) != each.sha256), None
    )
    if other is not None:
        raise FileInvalid(f"{path}: does not speak of {other} with this content")
    digest = hashlib.sha256(data).hexdigest()
    return [
        replace(entry, document={**entry.document, EVALUATION_FIELD: digest})
        for entry in entries
    ]


def _evaluated(results: Any) -> Iterator[tuple[str, str]]:
    """Ids and hashes of what the evaluation's variants asked by."""
    for variant in maps_at(results, "variants"):
        for kind in ("prompt", "schema"):
            named: Mapping[str, Any] = map_at(variant, kind)
            entry_id, sha256 = text_at(named, "id"), text_at(named, "sha256")
            if entry_id and sha256:
                yield entry_id, sha256
