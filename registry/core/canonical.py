"""Canonical JSON (RFC 8785) and SHA-256 over it: fingerprints, digests and the audit chain use only this."""

import hashlib
from typing import Any

import rfc8785


def canonical_json(value: Any) -> bytes:
    """Bytes of the RFC 8785 form. Raises `rfc8785.CanonicalizationError` for what JSON cannot hold."""
    return rfc8785.dumps(value)


def digest(value: Any) -> str:
    """Lower-case hexadecimal SHA-256 over the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
