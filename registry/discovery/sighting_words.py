"""What people are told about an entry of a client's configuration."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from registry.core.secrets import LABELS

PACKAGES = {
    "npm": "npm",
    "pypi": "PyPI",
    "oci": "OCI",
    "git": "Git",
    "nuget": "NuGet",
    "smithery": "Smithery",
}


def points_at(label: str, identified: bool, facts: Mapping[str, Any]) -> str:
    """Where an entry leads, in a sentence."""
    package, via = facts.get("package"), ", ".join(facts.get("via", ()))
    if not identified:
        said = _("%(what)s: known to that machine only, so nobody else would call it the same") % {"what": label}
    elif package:
        kind = PACKAGES.get(package["registry"], package["registry"])
        said = _("%(kind)s package %(name)s") % {"kind": kind, "name": package["identifier"]}
        if package["version"]:
            said = _("%(said)s, release %(version)s") % {"said": said, "version": package["version"]}
    else:
        said = facts.get("url") or label
    return _("%(said)s (started by %(via)s)") % {"said": said, "via": via} if via else str(said)


def looks_like(rule: str) -> str:
    return str(_(LABELS.get(rule, "a credential")))


def warning(secret: Mapping[str, str]) -> str:
    """Where a secret stands, and what to do; it holds nothing of the value."""
    return _("%(path)s holds %(looks)s. Rotate it, then reference where it is kept.") % {
        "path": secret["path"],
        "looks": looks_like(secret["looks"]),
    }


def reasons(sighting: Mapping[str, Any]) -> list[str]:
    """What a report says about an entry: where it points, then every secret in it."""
    where = points_at(sighting["label"], sighting["identified"], sighting["facts"])
    return [where, *(warning(secret) for secret in sighting["secrets"])]
