from typing import TYPE_CHECKING

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from registry.accounts.events import PersonLeft
    from registry.catalog.events import (
        AgentChanged,
        ServerChanged,
        ServerSubmitted,
        ServerWithdrawn,
        SuccessionProposed,
        SystemChanged,
        TierChanged,
        VisibilityChanged,
    )
    from registry.discovery.events import DriftFound
    from registry.reviews.events import (
        ActionsReleased,
        CampaignLaunched,
        DelegationStarted,
        ErrandWaiting,
        ItemStuck,
        LettersWritten,
        PackAsked,
        ReviewsOpened,
        StageOpened,
        TriggerRaised,
    )
    from registry.trust.events import RelationshipChanged


class ReviewsConfig(AppConfig):
    name = "registry.reviews"
    verbose_name = "Reviews"

    def ready(self) -> None:
        from auditlog.registry import auditlog

        from registry.accounts.events import PersonLeft
        from registry.audit.queries import register_subject
        from registry.catalog import events as catalog
        from registry.core import panels
        from registry.core.events import subscribe
        from registry.core.icons import Icon
        from registry.discovery.events import DriftFound
        from registry.reviews import events, models, permissions  # noqa: F401 - registers the rules
        from registry.trust.events import RelationshipChanged

        auditlog.register(models.Template, exclude_fields=["created_at", "updated_at", "version"])
        auditlog.register(
            models.TemplateStage, exclude_fields=["created_at", "updated_at", "version"], m2m_fields={"reviewers"}
        )
        for model in (
            models.Delegation,
            models.Campaign,
            models.Item,
            models.WorkItem,
            models.Remediation,
            models.Challenge,
            models.ExceptionRecord,
            models.Certificate,
            models.AuditPack,
        ):
            auditlog.register(
                model,
                exclude_fields=[
                    "created_at",
                    "updated_at",
                    "version",
                    "processed",
                    "progressed_at",
                    "snapshot",
                    "block",
                    "stages",
                ],
            )
        subscribe(events.CampaignLaunched, _generate)
        subscribe(events.ItemStuck, _tell_owner)
        subscribe(events.ErrandWaiting, _carry_out)
        subscribe(events.StageOpened, _open_stage)
        subscribe(events.DelegationStarted, _start_delegations)
        subscribe(events.TriggerRaised, _gather)
        subscribe(events.ReviewsOpened, _tell_reviewers)
        subscribe(events.LettersWritten, _send)
        subscribe(events.PackAsked, _make_pack)
        subscribe(events.ActionsReleased, _carry_out_actions)
        subscribe(PersonLeft, _somebody_left)
        subscribe(catalog.SuccessionProposed, _ask_successor)
        subscribe(catalog.TierChanged, _tier_changed)
        subscribe(catalog.ServerSubmitted, _open_intake)
        subscribe(catalog.ServerChanged, _server_changed)
        subscribe(catalog.ServerWithdrawn, _server_changed)
        subscribe(catalog.AgentChanged, _agent_changed)
        subscribe(catalog.SystemChanged, _system_changed)
        subscribe(catalog.VisibilityChanged, _visibility_changed)
        subscribe(RelationshipChanged, _relationship_changed)
        subscribe(DriftFound, _tell_of_drift)
        register_subject("campaign", models.Campaign.objects.visible_to)
        register_subject("remediation", models.Remediation.objects.visible_to, of_server=("item__rests_on",))
        register_subject("auditpack", models.AuditPack.objects.visible_to)
        # No story of their own: it holds drafts, which are their author's business until signed.
        register_subject(
            "item", models.Item.objects.visible_to, of_server=("rests_on",), alone=False, unsaid=("decision.",)
        )
        panels.register(page="server", url_name="reviews:server_panel", title=_("Reviews"), order=40)
        panels.register(page="agent", url_name="reviews:agent_panel", title=_("Reviews"), order=40)
        for page, kinds in (("servers", ["server"]), ("agents", ["agent"]), ("relationships", ["grant", "connection"])):
            panels.offer(
                page=page,
                url_name="reviews:template_new",
                title=_("Review these"),
                icon=Icon.LIST_CHECKS,
                permission="reviews.manage_templates",
                more=[("kinds", kind) for kind in kinds],
            )


def _generate(event: "CampaignLaunched") -> None:
    from registry.reviews import tasks

    tasks.generate_items.delay(campaign_id=str(event.campaign_id))


def _open_stage(event: "StageOpened") -> None:
    from registry.reviews import tasks

    tasks.open_stage.delay(campaign_id=str(event.campaign_id))


def _start_delegations(event: "DelegationStarted") -> None:
    from registry.reviews import tasks

    tasks.start_delegations.delay()


def _tell_owner(event: "ItemStuck") -> None:
    from registry.reviews import tasks

    tasks.tell_owner.delay(item_id=str(event.item_id))


def _carry_out(event: "ErrandWaiting") -> None:
    from registry.reviews import tasks

    tasks.carry_out.delay(remediation_id=str(event.remediation_id))


def _open_intake(event: "ServerSubmitted") -> None:
    from registry.reviews import tasks

    tasks.open_intake.delay(server_id=str(event.server_id))


def _recheck(kind: str, subject_id: object) -> None:
    from registry.reviews import tasks

    tasks.recheck.delay(kind=kind, subject_id=str(subject_id))


def _server_changed(event: "ServerChanged | ServerWithdrawn") -> None:
    _recheck("server", event.server_id)


def _agent_changed(event: "AgentChanged") -> None:
    _recheck("agent", event.agent_id)


def _system_changed(event: "SystemChanged") -> None:
    _recheck("system", event.system_id)


def _visibility_changed(event: "VisibilityChanged") -> None:
    from registry.reviews import tasks

    tasks.admit_those_asked.delay()


def _relationship_changed(event: "RelationshipChanged") -> None:
    _recheck(event.kind, event.id)


def _gather(event: "TriggerRaised") -> None:
    from registry.reviews import tasks

    # One change often calls for several reviews: a breath later they are one campaign.
    tasks.gather_triggers.apply_async(countdown=2)


def _tell_reviewers(event: "ReviewsOpened") -> None:
    from registry.reviews import tasks

    # Several single reviews often start within a breath: whoever gets them has one mail about all of them.
    tasks.tell_reviewers.apply_async(countdown=2)


def _send(event: "LettersWritten") -> None:
    from registry.reviews import tasks

    tasks.send_letters.delay()


def _make_pack(event: "PackAsked") -> None:
    from registry.reviews import tasks

    tasks.make_pack.delay(pack_id=str(event.pack_id))


def _carry_out_actions(event: "ActionsReleased") -> None:
    from registry.reviews import tasks

    tasks.carry_out_actions.delay(campaign_id=str(event.campaign_id))


def _somebody_left(event: "PersonLeft") -> None:
    from registry.reviews import tasks

    tasks.replace_leaver.delay(user_id=str(event.user_id))
    tasks.notice_departures.delay(user_id=str(event.user_id))


def _ask_successor(event: "SuccessionProposed") -> None:
    from registry.reviews import tasks

    # A leaver's things are offered one after the other: a breath later they are one letter.
    tasks.ask_successor.apply_async(
        kwargs={"former_owner_id": str(event.former_owner_id), "successor_id": str(event.successor_id)}, countdown=5
    )


def _tier_changed(event: "TierChanged") -> None:
    from registry.reviews import tasks

    tasks.notice_tier.delay(server_id=str(event.server_id), before=event.before)


def _tell_of_drift(event: "DriftFound") -> None:
    from registry.reviews import tasks

    tasks.tell_of_drift.delay(drift_id=str(event.drift_id))
