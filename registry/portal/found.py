"""What live looks found and somebody has to settle, in numbers, for whoever oversees the estate."""

from typing import NamedTuple

from django.urls import reverse
from django.utils.translation import ngettext

from registry.core.actors import Actor
from registry.core.icons import Icon
from registry.core.permissions import allows
from registry.discovery.models import Drift, Shadow
from registry.discovery.secret_states import sources_visible_to
from registry.discovery.states import DriftState, SecretState, ShadowState

MISSING = (SecretState.NOT_FOUND, SecretState.DELETED)


class Found(NamedTuple):
    icon: str
    text: str
    url: str


def found_outside(actor: Actor) -> list[Found]:
    """Drift, shadow servers and missing secrets that wait; nothing for those who do not oversee discovery."""
    if not allows(actor, "discovery.follow_registries"):
        return []
    drifts = Drift.objects.visible_to(actor).filter(state=DriftState.OPEN).count()
    shadows = Shadow.objects.visible_to(actor).filter(state=ShadowState.OPEN).count()
    missing = sources_visible_to(actor).filter(state__in=MISSING).count()  # type: ignore[misc]  # annotated
    gone = "&".join(f"state={state}" for state in MISSING)
    rows = [
        (
            drifts,
            Icon.GIT_COMPARE,
            ngettext("%d server lists something else than was approved",
                     "%d servers list something else than was approved", drifts),
            reverse("discovery:drifts") + f"?state={DriftState.OPEN}",
        ),
        (
            shadows,
            Icon.EYE,
            ngettext("%d shadow server that nobody answers for", "%d shadow servers that nobody answers for", shadows),
            reverse("discovery:shadows") + f"?state={ShadowState.OPEN}",
        ),
        (
            missing,
            Icon.KEY_ROUND,
            ngettext("%d secret is not where the catalog says", "%d secrets are not where the catalog says", missing),
            reverse("discovery:secret_sources") + f"?{gone}",
        ),
    ]  # fmt: skip
    return [Found(icon, text % number, url) for number, icon, text, url in rows if number]
