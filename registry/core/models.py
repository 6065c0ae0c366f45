"""Abstract rows: every governed model inherits its identity from here. Core owns no tables of the domain."""

from typing import Any

import pgtrigger
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from registry.core import clock, ids
from registry.core.errors import Changed


class Record(models.Model):
    """Identity, timestamps and the version that ETags and If-Match speak of.

    `save()` raises the version; services that write in bulk raise it themselves.
    """

    id = models.UUIDField(primary_key=True, default=ids.new_id, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)
    version = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        abstract = True

    @property
    def subject_type(self) -> str:
        return self._meta.model_name or ""

    @property
    def etag(self) -> str:
        """Strong entity tag, quoted as RFC 9110 section 8.8.3 wants it."""
        return f'"{self.pk.hex}.{self.version}"'

    def check_version(self, expected: str | None) -> None:
        """Raise `Changed` unless `expected` (an ETag or None for "any") names this version."""
        if expected not in (None, "*", self.etag):
            raise Changed(f"You worked on another version of this {self._meta.verbose_name}. Look again.")

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            self.version += 1
            self.updated_at = clock.now()
            fields = kwargs.get("update_fields")
            if fields is not None:
                kwargs["update_fields"] = {*fields, "version", "updated_at"}
        super().save(*args, **kwargs)


class IdempotentAnswer(models.Model):
    """The answer to a POST that carried an Idempotency-Key; `status` is empty while the first call runs."""

    principal = models.CharField(max_length=80)
    key = models.CharField(max_length=255)
    payload = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    body = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    etag = models.CharField(max_length=80, blank=True)
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["principal", "key"], name="idempotency_key_once")]

    def __str__(self) -> str:
        return self.key


class RateCount(models.Model):
    """Calls taken from one window of one principal's limit (see `core.limits`). Not worth a disk: it is unlogged, so
    that a count waits for no write-ahead log and a crash of the database starts all windows anew."""

    key = models.CharField(max_length=40, primary_key=True)
    ends = models.BigIntegerField(help_text="When the window ends, in Unix seconds.")
    used = models.IntegerField()

    def __str__(self) -> str:
        return self.key


def kept_forever() -> pgtrigger.Protect:
    """Governed rows retire; the database refuses to delete them (DESIGN, invariant 8)."""
    return pgtrigger.Protect(name="kept_forever", operation=pgtrigger.Delete)


def append_only() -> pgtrigger.Protect:
    """Evidence: the database refuses to change or delete the row (DESIGN, invariant 7)."""
    return pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete)
