"""Our messages to Firestore are those that the client library's own conversion makes."""

from datetime import UTC, datetime
from typing import Any

import pytest
from google.api_core.datetime_helpers import DatetimeWithNanoseconds
from google.auth.credentials import AnonymousCredentials
from google.cloud.firestore_v1.client import Client
from google.cloud.firestore_v1.field_path import FieldPath
from google.cloud.firestore_v1.transforms import DELETE_FIELD
from google.cloud.firestore_v1.types import BatchGetDocumentsResponse
from google.cloud.firestore_v1.types import Write as WriteMessage
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from shared.adapters.firestore_values import found_snapshot, write_message
from shared.domain.documents import DELETE, Create, DocumentRef, Snapshot, Update, Version

REF = DocumentRef("flow_runs", "20260105-090000_BTCUSD_0a1b2c")
CLIENT = Client(project="p", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
NAME = f"projects/p/databases/(default)/documents/{REF.collection}/{REF.document_id}"
NANOSECONDS = st.integers(1, 4_000_000_000 * 10**9)
# The names hold no backslash: after one at a name's end, the library misreads its own quotes.
FIELD_NAMES = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\\"), min_size=1, max_size=8),
    st.sampled_from(["a.b", "`", "ctpl:1-x", "1st", "ü", "__x__", "*", "[0]", " "]),
)


def exact(nanoseconds: int) -> DatetimeWithNanoseconds:
    stamp = Timestamp()
    stamp.FromNanoseconds(nanoseconds)
    moment: DatetimeWithNanoseconds = DatetimeWithNanoseconds.from_timestamp_pb(stamp)  # type: ignore[no-untyped-call]
    return moment


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.text(max_size=8),
        st.binary(max_size=8),
        st.datetimes(min_value=datetime(1, 1, 2), timezones=st.just(UTC)),  # noqa: DTZ001 -- its bounds have no zone
        NANOSECONDS.map(exact),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(FIELD_NAMES, inner, max_size=3)
    ),
    max_leaves=8,
)
PATHS = st.lists(FIELD_NAMES, min_size=1, max_size=3).map(tuple)


def apart(changes: dict[tuple[str, ...], Any]) -> bool:
    return not any(path[:end] in changes for path in changes for end in range(1, len(path)))


def library_update(changes: dict[tuple[str, ...], Any], guard: Version) -> Any:
    stamp = Timestamp()
    stamp.FromNanoseconds(guard)
    batch = CLIENT.batch()
    fields = {
        FieldPath(*path).to_api_repr(): DELETE_FIELD if value is DELETE else value
        for path, value in changes.items()
    }
    option = CLIENT.write_option(last_update_time=stamp)
    batch.update(CLIENT.collection(REF.collection).document(REF.document_id), fields, option)
    return WriteMessage.pb(batch._write_pbs[0])


@given(
    changes=st.dictionaries(
        PATHS, st.one_of(VALUES, st.just(DELETE)), min_size=1, max_size=4
    ).filter(apart),
    guard=NANOSECONDS.map(Version),
)
def test_an_update_is_the_librarys(changes: dict[tuple[str, ...], Any], guard: Version) -> None:
    ours = write_message(Update(ref=REF, changes=changes, guard=guard), NAME)
    theirs = library_update(changes, guard)
    # A mask is a set: the server does not look at its order.
    for message in (ours, theirs):
        message.update_mask.field_paths[:] = sorted(message.update_mask.field_paths)
    assert ours == theirs


@given(data=st.dictionaries(FIELD_NAMES, VALUES, max_size=4))
def test_a_create_is_the_librarys_and_reads_back_as_it_was(data: dict[str, Any]) -> None:
    ours = write_message(Create(ref=REF, data=data), NAME)
    batch = CLIENT.batch()
    batch.create(CLIENT.collection(REF.collection).document(REF.document_id), data)
    assert ours == WriteMessage.pb(batch._write_pbs[0])
    ours.update.update_time.FromNanoseconds(1_234_567_890_123_456_789)
    response = BatchGetDocumentsResponse.pb()(found=ours.update)
    assert found_snapshot(BatchGetDocumentsResponse.wrap(response)) == Snapshot(
        ref=REF, version=Version(1_234_567_890_123_456_789), data=data
    )


def test_a_missing_document_is_none() -> None:
    assert found_snapshot(BatchGetDocumentsResponse(missing=NAME)) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "at least one field"),
        ({("a",): 1, ("a", "b", "c"): 2}, "changed twice"),
    ],
)
def test_an_update_that_would_replace_more_than_it_names_is_refused(
    changes: dict[tuple[str, ...], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_message(Update(ref=REF, changes=changes, guard=Version(1)), NAME)


def test_a_value_that_no_document_can_hold_is_refused_by_its_type() -> None:
    with pytest.raises(TypeError, match="cannot hold a complex"):
        write_message(Create(ref=REF, data={"secret": 1j}), NAME)
