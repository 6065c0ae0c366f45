"""Identifiers: UUIDv7 (RFC 9562), ordered by time, safe to show, the same in database, URL and API."""

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    return uuid7()
