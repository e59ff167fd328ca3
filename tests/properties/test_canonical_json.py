"""RFC 8785, as far as it can be stated in laws."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from executor.contract.canonical import canonical_hash, canonical_json, sha256_hex

PLAIN = st.text(st.characters(codec="utf-8"), max_size=8)
#: Beyond this, a whole double is written as an integer that no longer reads back as exact.
LARGEST = 2**53 - 1
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-LARGEST, LARGEST)
    | st.floats(-LARGEST, LARGEST)
    | PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PLAIN, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_the_canonical_form_reads_back_and_is_its_own_canonical_form(value: Any) -> None:
    canonical = canonical_json(value)

    again = json.loads(canonical)
    assert again == value
    assert canonical_json(again) == canonical
    assert canonical_hash(value) == sha256_hex(canonical)


@given(VALUES, st.sampled_from([None, 1, 4]), st.booleans())
def test_how_a_document_was_written_does_not_count(
    value: Any,
    indent: int | None,
    escaped: bool,  # noqa: FBT001 - data
) -> None:
    written = json.dumps(value, indent=indent, ensure_ascii=escaped)

    assert canonical_hash(json.loads(written)) == canonical_hash(value)


@given(st.dictionaries(PLAIN, st.integers(0, 9), max_size=8))
def test_keys_are_in_the_order_of_their_utf_16_code_units(members: dict[str, int]) -> None:
    """https://www.rfc-editor.org/rfc/rfc8785#section-3.2.3."""
    keys = list(json.loads(canonical_json(members)))

    assert keys == sorted(members, key=lambda key: key.encode("utf-16-be"))
