"""HashiCorp Vault and OpenBao, secrets engine KV version 2, by its metadata alone.

A reference is `mount/data/path`, `mount/metadata/path` or, for a mount of one part, `mount/path`. Whatever it says,
only `…/metadata/…` is asked, redirects are not followed, and path parts that a client would resolve are refused.
"""

import re
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from registry.core import clock
from registry.discovery.stores.looked import Looked, Outcome, cannot, instant, plain

PART = re.compile(r"[\w.@:+=,~ -]+")
OWN = ("sys", "auth", "identity", "cubbyhole")
"""Vault's own paths, where `metadata` is a name like any other."""
SECONDS = 5


def missing() -> str:
    if not settings.VAULT_ADDR:
        return _("This registry has no access to Vault; set VAULT_ADDR and VAULT_TOKEN_FILE.")
    if not settings.VAULT_TOKEN_FILE:
        return _("This registry has no token for Vault; set VAULT_TOKEN_FILE.")
    return ""


def check(reference: str) -> Looked:
    from hvac import exceptions  # It takes 20 MB: loaded by the first who asks.

    place = _place(reference)
    if place is None:
        return cannot(_("This is no path of a KV version 2 engine, such as kv/data/warehouse."))
    try:
        # Read anew each time: agents that renew the token write the file again.
        token = Path(settings.VAULT_TOKEN_FILE).read_text().strip()
    except (OSError, ValueError):
        return cannot(_("The file that VAULT_TOKEN_FILE names cannot be read."))
    if not token:
        return cannot(_("The file that VAULT_TOKEN_FILE names is empty."))
    mount, path = place
    try:
        said = _ask(token, mount, path)
    except exceptions.InvalidPath:
        return Looked(Outcome.NOT_FOUND, _("Vault has no metadata at this path."))
    except (exceptions.Forbidden, exceptions.Unauthorized):
        return cannot(_("Vault does not let this registry read the metadata of this path."))
    except exceptions.RateLimitExceeded:
        return cannot(_("Vault asks for fewer requests; it is tried again later."))
    except exceptions.VaultError:
        return cannot(_("Vault is sealed, or could not answer."))
    except OSError:  # what requests raises is one
        return cannot(_("Vault could not be reached."))
    return _read(said)


def _place(reference: str) -> tuple[str, str] | None:
    """Mount and path, or None where the metadata of it has no address."""
    parts = reference.partition("#")[0].strip("/").split("/")
    if not all(PART.fullmatch(part) and part.strip(".") for part in parts) or parts[0] in OWN:
        return None
    where = next((at for at, part in enumerate(parts) if at and part in ("data", "metadata")), None)
    mount, path = (parts[:1], parts[1:]) if where is None else (parts[:where], parts[where + 1 :])
    return ("/".join(mount), "/".join(path)) if path else None


def _ask(token: str, mount: str, path: str) -> Any:
    import hvac

    proxy = settings.OUTBOUND_PROXY
    client = hvac.Client(
        url=settings.VAULT_ADDR,
        token=token,
        namespace=settings.VAULT_NAMESPACE or None,
        verify=settings.VAULT_CACERT or True,
        timeout=SECONDS,
        proxies={"http": proxy, "https": proxy} if proxy else {},
        # The token goes to the address it is for, and nowhere else.
        allow_redirects=False,
    )
    client.session.trust_env = False
    try:
        return client.secrets.kv.v2.read_secret_metadata(path=path, mount_point=mount)
    finally:
        client.session.close()


def _read(said: Any) -> Looked:
    data = said.get("data") if isinstance(said, dict) else None
    versions = data.get("versions") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(versions, dict) or "current_version" not in data:
        return cannot(_("What is mounted there does not answer as KV version 2 does."))
    current = versions.get(str(data["current_version"]))
    current = current if isinstance(current, dict) else {}
    written, ends = instant(current.get("created_time")), instant(current.get("deletion_time"))
    gone = not current or current.get("destroyed") is True or (ends is not None and ends <= clock.now())
    names = ("current_version", "oldest_version", "max_versions", "cas_required")
    facts = plain({name: data.get(name) for name in names})
    dates = {name: instant(data.get(name)) for name in ("created_time", "updated_time")}
    facts |= plain({**dates, "version_created_time": written, "version_deletion_time": ends})
    facts["versions"] = len(versions)
    return Looked(
        Outcome.DELETED if gone else Outcome.VERIFIED,
        _("Its current version is deleted or destroyed.") if gone else "",
        # A new version is a new value: KV keeps no other sign of rotation.
        last_rotated_at=written,
        last_changed_at=written,
        facts=facts,
    )
