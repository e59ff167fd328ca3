"""Canonical JSON (RFC 8785) and the hashes made from it."""

import hashlib

import rfc8785


def canonical_json(value: object) -> bytes:
    """The one byte string that RFC 8785 gives this JSON value.

    Raises:
        ValueError: the value has no canonical form: NaN or infinity, an integer beyond
            2**53 - 1, a key that is no string, a lone surrogate, or a type outside JSON.
    """
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]  # it checks the value itself
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise ValueError(f"no canonical JSON: {type(error).__name__}") from None


def sha256_hex(data: bytes) -> str:
    """The lower-case hexadecimal SHA-256 of the bytes."""
    return hashlib.sha256(data).hexdigest()


def canonical_hash(value: object) -> str:
    """The lower-case hexadecimal SHA-256 of the value's canonical JSON.

    Raises:
        ValueError: as `canonical_json`.
    """
    return sha256_hex(canonical_json(value))
