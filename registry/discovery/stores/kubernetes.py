"""Kubernetes Secrets, by their object metadata alone.

The request asks for PartialObjectMetadata and accepts nothing else, so the API server leaves `data` out. RBAC knows no
such difference: whoever may `get` a Secret may read it, and annotations can repeat its content. Both is said in
docs/discovery.md; here, nothing but dates and numbers gets past `_read`.
"""

import re
import ssl
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from registry.core import outbound
from registry.discovery.stores.looked import Looked, Outcome, cannot, instant, plain

ACCEPT = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
REFERENCE = re.compile(r"(?P<namespace>[a-z0-9]([a-z0-9-]*[a-z0-9])?)/(?P<name>[a-z0-9]([a-z0-9.-]*[a-z0-9])?)(#\S+)?")
LIMITS = outbound.Limits(connect=3, read=5, total=8, size=2_000_000, redirects=0)


def missing() -> str:
    if settings.KUBERNETES_API_URL:
        return ""
    return _("This registry has no access to Kubernetes; set KUBERNETES_API_URL, the token's file and the CA's file.")


def check(reference: str) -> Looked:
    place = REFERENCE.fullmatch(reference)
    if place is None:
        return cannot(_("This is no Secret of Kubernetes; name it as namespace/secret-name."))
    try:
        token = Path(settings.KUBERNETES_TOKEN_FILE).read_text().strip()
        tls = _trusting(settings.KUBERNETES_CA_FILE) if settings.KUBERNETES_CA_FILE else None
    except (OSError, ValueError):  # an SSLError is an OSError
        return cannot(_("The file of the service account's token, or of the API server's CA, cannot be read."))
    path = f"/api/v1/namespaces/{place['namespace']}/secrets/{place['name']}"
    try:
        with outbound.Door(limits=LIMITS, tls=tls) as door:
            answer = door.fetch(
                "GET",
                settings.KUBERNETES_API_URL.rstrip("/") + path,
                headers={"Authorization": f"Bearer {token}", "Accept": ACCEPT},
            )
    except outbound.OutboundError as error:
        return cannot(_("The API server of Kubernetes could not be asked: %(why)s") % {"why": error.message})
    return _judge(answer)


@lru_cache(maxsize=2)
def _trusting(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


def _judge(answer: outbound.Answer) -> Looked:
    if answer.status == 404:
        return Looked(Outcome.NOT_FOUND, _("Kubernetes has no Secret of this name in this namespace."))
    if answer.status in (401, 403):
        return cannot(_("Kubernetes does not let this registry's service account get this Secret."))
    if answer.status == 429:
        return cannot(_("The API server of Kubernetes asks for fewer requests; it is tried again later."))
    if answer.status != 200:
        return cannot(_("The API server of Kubernetes answered %(status)d.") % {"status": answer.status})
    try:
        said = answer.json()
    except outbound.Unreadable:
        return cannot(_("What answers is not the API server of Kubernetes."))
    if not isinstance(said, dict) or said.get("kind") != "PartialObjectMetadata" or "data" in said:
        return cannot(_("The API server does not answer with metadata alone; the answer was dropped unread."))
    return _read(said.get("metadata"))


def _read(metadata: Any) -> Looked:
    metadata = metadata if isinstance(metadata, dict) else {}
    deleted = instant(metadata.get("deletionTimestamp"))
    created = instant(metadata.get("creationTimestamp"))
    fields = metadata.get("managedFields")
    writes = [
        written
        for each in (fields if isinstance(fields, list) else [])
        if isinstance(each, dict) and isinstance(each.get("fieldsV1"), dict)
        and ("f:data" in each["fieldsV1"] or "f:stringData" in each["fieldsV1"])
        and (written := instant(each.get("time")))
    ]  # fmt: skip
    return Looked(
        Outcome.DELETED if deleted else Outcome.VERIFIED,
        _("It is being deleted.") if deleted else "",
        # Who owns a field says when it was written at the latest, not whether the value is another one.
        last_changed_at=max(writes, default=created),
        facts=plain({"creationTimestamp": created, "deletionTimestamp": deleted}),
    )
