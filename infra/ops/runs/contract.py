"""Why the worker refuses a whole run, and which ids an operator may open all the same. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from shared.domain.document_size import ENDING_BYTES, MAX_DOCUMENT_BYTES, document_size
from shared.domain.documents import DocumentRef
from shared.domain.errors import FlowRunInvalid
from shared.domain.flow_run import parse_flow_run
from shared.domain.identifiers import is_run_id

#: What Firestore allows as a document's id: https://firebase.google.com/docs/firestore/quotas.
_MOST_ID_BYTES = 1_500
_RESERVED = re.compile(r"__.*__|\.\.?", re.DOTALL)
#: Who can mend it: ids and shapes of runs are the orchestrator's.
REMEDY = "Have the orchestrator begin the run again under an id and in a form of the contract."


def is_readable_id(run_id: str) -> bool:
    """Whether there can be a document of this id, whatever the contract says of it."""
    try:
        size = len(run_id.encode())
    except UnicodeEncodeError:
        return False
    sound = "/" not in run_id and _RESERVED.fullmatch(run_id) is None
    return 0 < size <= _MOST_ID_BYTES and sound


def contract_problem(run_id: str, run: Mapping[str, Any]) -> str | None:
    """Why the worker refuses the run; None for one that it takes."""
    if not is_run_id(run_id):
        return (
            "the run's id breaks the contract: it is no YYYYMMDD-HHmmss_SYMBOL_suffix with a "
            "suffix of 3 to 6 lower-case letters or digits"
        )
    try:
        parse_flow_run(run_id, run)
    except FlowRunInvalid as problem:
        return f"the run breaks the contract: {problem.message}"
    return None


def room_problem(run_id: str, run: Mapping[str, Any]) -> str | None:
    """Why no step of the run can be claimed any more; None where there is room."""
    size = document_size(DocumentRef("", run_id), run)
    if MAX_DOCUMENT_BYTES - size >= ENDING_BYTES:
        return None
    return f"the run's document has {size} of Firestore's {MAX_DOCUMENT_BYTES} bytes"
