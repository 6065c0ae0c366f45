"""Canonical JSON (RFC 8785) and SHA-256 over it: fingerprints, digests and the audit chain use only this."""

import hashlib
from typing import Any

import rfc8785

SAFE_INTEGER = 2**53 - 1


def canonical_json(value: Any) -> bytes:
    """Bytes of the RFC 8785 form. Raises `rfc8785.CanonicalizationError` for what JSON cannot hold.

    Numbers are doubles there (section 3.2.2.3). The database hands 1e40 back as an integer of forty digits: it is the
    same number, and must not stop whoever compares it.
    """
    try:
        return rfc8785.dumps(value)
    except rfc8785.IntegerDomainError:
        return rfc8785.dumps(_as_doubles(value))


def _as_doubles(value: Any) -> Any:
    match value:
        case dict():
            return {key: _as_doubles(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_as_doubles(inner) for inner in value]
        case int() if abs(value) > SAFE_INTEGER:
            try:
                return float(value)
            except OverflowError:
                raise rfc8785.CanonicalizationError("A number is too large for JSON.") from None
    return value


def digest(value: Any) -> str:
    """Lower-case hexadecimal SHA-256 over the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
