"""Django's sessions in the database, under a hash of their key: a copy of the database is nobody's session.

The key itself is in the cookie of its browser and nowhere else. It is random, so a plain hash is enough.
"""

import hashlib
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends import db
from django.utils import timezone

LONGEST = 40
"""The column of Django's model: 160 bits."""


def kept_key(session_key: str | None) -> str:
    """What the database knows a session by; "" for one that has no key yet."""
    return hashlib.sha256(session_key.encode()).hexdigest()[:LONGEST] if session_key else ""


class SessionStore(db.SessionStore):
    """Whatever touches a row goes by the hash; Django's asynchronous half does the same by way of this one."""

    @property
    def kept_key(self) -> str:
        return kept_key(self.session_key)

    def _get_session_from_db(self) -> Any:
        found = self.model.objects.filter(session_key=self.kept_key, expire_date__gt=timezone.now()).first()
        if found is None:
            self._session_key = None
        return found

    def exists(self, session_key: str) -> bool:
        return super().exists(kept_key(session_key))

    def create_model_instance(self, data: dict[str, Any]) -> Any:
        instance = super().create_model_instance(data)
        instance.session_key = kept_key(instance.session_key)
        return instance

    def delete(self, session_key: str | None = None) -> None:
        key = session_key if session_key is not None else self.session_key
        if key is not None:
            super().delete(kept_key(key))

    async def _aget_session_from_db(self) -> Any:
        return await sync_to_async(self._get_session_from_db)()

    async def aexists(self, session_key: str) -> bool:
        return await sync_to_async(self.exists)(session_key)

    async def acreate_model_instance(self, data: dict[str, Any]) -> Any:
        return await sync_to_async(self.create_model_instance)(data)

    async def adelete(self, session_key: str | None = None) -> None:
        await sync_to_async(self.delete)(session_key)
