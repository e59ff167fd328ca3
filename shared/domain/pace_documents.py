"""How a pace is stored in Firestore, and read from there."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote

from shared.domain.documents import Create, DocumentRef, FieldPath, Update, Version, Write
from shared.domain.pacing import Minute, Pace, SlotGrant
from shared.domain.times import parse_time

COLLECTION = "llm_pacing"
#: Of ASCII alone; https://firebase.google.com/docs/firestore/quotas#limits
_MAX_PLACE_CHARS = 1_500
_QUOTED = r"[A-Za-z0-9_.~%-]+"
_PLACE = re.compile(f"{_QUOTED}@{_QUOTED}")


def pace_place(model: str, endpoint: str) -> str:
    """The id of the pace of one model at one endpoint, such as `gemini-x@ai_studio`."""
    # Whatever the names are, the id of a document comes of them.
    return f"{quote(model, safe='', errors='replace')}@{quote(endpoint, safe='')}"


def is_pace_place(text: str) -> bool:
    """Whether it is an id as `pace_place` makes them."""
    return len(text) <= _MAX_PLACE_CHARS and _PLACE.fullmatch(text) is not None


def pace_names(place: str) -> tuple[str, str] | None:
    """The model and the endpoint of which this id was made; None for any other text."""
    if not is_pace_place(place):
        return None
    model, _, endpoint = place.partition("@")
    return unquote(model), unquote(endpoint)


def pace_ref(place: str) -> DocumentRef:
    """Where the pace is stored."""
    return DocumentRef(COLLECTION, place)


def pace_write(pace: Pace, guard: Version | None) -> Write:
    """The write that stores the pace; without a version to guard it, of a first one."""
    fields = _fields(pace)
    if guard is None:
        return Create(ref=pace_ref(pace.place), data=fields)
    changes: dict[FieldPath, Any] = {(name,): value for name, value in fields.items()}
    return Update(ref=pace_ref(pace.place), changes=changes, guard=guard)


def _fields(pace: Pace) -> dict[str, Any]:
    return {
        "place": pace.place,
        "peak": pace.peak,
        "growingSince": pace.growing_since,
        "steady": pace.steady,
        "strikes": pace.strikes,
        "resumeAt": pace.resume_at,
        "delayNamed": pace.delay_named,
        "probeAt": pace.probe_at,
        "slots": pace.slots,
        "filledAt": pace.filled_at,
        "until": pace.until,
        "limit": pace.limit,
        "waiting": pace.waiting,
        "seenAt": pace.seen_at,
        "recent": [{"at": grant.at, "slots": grant.slots} for grant in pace.recent],
        "minutes": [
            {"at": minute.at, "granted": minute.granted, "refused": minute.refused}
            for minute in pace.minutes
        ],
    }


def parse_pace(place: str, data: Mapping[str, Any]) -> Pace | None:
    """The pace that `pace_write` stored; None, which is no pace known, for anything else."""
    try:
        return Pace(
            place=place,
            peak=float(data["peak"]),
            growing_since=parse_time(data.get("growingSince")),
            steady=bool(data.get("steady")),
            strikes=int(data.get("strikes", 0)),
            resume_at=_time(data["resumeAt"]),
            delay_named=bool(data.get("delayNamed")),
            probe_at=parse_time(data.get("probeAt")),
            slots=float(data.get("slots", 0)),
            filled_at=_time(data["filledAt"]),
            until=_time(data["until"]),
            limit=None if data.get("limit") is None else float(data["limit"]),
            waiting=int(data.get("waiting", 0)),
            seen_at=parse_time(data.get("seenAt")),
            recent=tuple(
                SlotGrant(at=_time(grant["at"]), slots=int(grant["slots"]))
                for grant in data.get("recent", ())
            ),
            minutes=tuple(
                Minute(
                    at=_time(minute["at"]),
                    granted=int(minute["granted"]),
                    refused=int(minute["refused"]),
                )
                for minute in data.get("minutes", ())
            ),
        )
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return None


def _time(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError("a time")
    return value
