"""Idempotency-Key for POST (draft-ietf-httpapi-idempotency-key-header-07): a repeated call answers as the first did.

409 while the first call still runs, 422 when the key comes back with another payload. Answers are kept 24 hours.
"""

import hashlib
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from rest_framework.request import Request
from rest_framework.response import Response

from registry.core import clock
from registry.core.errors import Conflict, Invalid, RegistryError
from registry.core.models import IdempotentAnswer

KEPT = timedelta(hours=24)
ABANDONED = timedelta(minutes=2)
"""A call that left no answer for this long died with its process; its key may be used again."""
MAX_KEY = 255


class Replay(RegistryError):
    """Carries the stored answer out of `begin`; the viewset turns it into the response."""

    def __init__(self, stored: IdempotentAnswer) -> None:
        self.stored = stored
        super().__init__("Answered before")

    def response(self) -> Response:
        headers = {"Idempotent-Replayed": "true"} | ({"ETag": self.stored.etag} if self.stored.etag else {})
        kind = "application/problem+json" if (self.stored.status or 0) >= 400 else None
        return Response(self.stored.body, status=self.stored.status, headers=headers, content_type=kind)


def begin(request: Request, principal: str) -> IdempotentAnswer | None:
    """Claim the request's key. None without a key; raises `Replay`, `Conflict` or `Invalid` for a known one."""
    key = request.headers.get("Idempotency-Key", "")
    if request.method != "POST" or not key:
        return None
    if len(key) > MAX_KEY:
        raise Invalid(fields={"Idempotency-Key": [f"At most {MAX_KEY} characters."]})
    payload = hashlib.sha256(b"\n".join([request.get_full_path().encode(), request.body])).hexdigest()
    now = clock.now()
    IdempotentAnswer.objects.filter(principal=principal, key=key, status=None, created_at__lt=now - ABANDONED).delete()
    try:
        with transaction.atomic():
            return IdempotentAnswer.objects.create(principal=principal, key=key, payload=payload, created_at=now)
    except IntegrityError:
        known = IdempotentAnswer.objects.filter(principal=principal, key=key).first()
    if known is not None and known.payload != payload:
        raise Invalid(fields={"Idempotency-Key": ["This key was used with another request."]})
    if known is None or known.status is None:
        raise Conflict("The first request with this Idempotency-Key is still running.")
    raise Replay(known)


def finish(claim: IdempotentAnswer, response: Any) -> None:
    """Keep the answer, unless it was our fault: a 5xx may be tried again with the same key."""
    if response.status_code >= 500:
        claim.delete()
        return
    claim.status, claim.body = response.status_code, getattr(response, "data", None)
    claim.etag = response.get("ETag", "")
    claim.save(update_fields=["status", "body", "etag"])
