"""One of everything, so that every URL has something true to point at."""

from typing import Any

from registry.accounts.models import BrowserSession, GroupRole, User
from registry.accounts.services import end_role
from registry.audit.models import Event
from registry.catalog import services as catalog
from registry.catalog.models import Agent, Server, System, Vacancy
from registry.core import clock
from registry.core.ids import new_id
from registry.discovery import services as discovery
from registry.reviews import services as reviews
from registry.reviews.models import (
    AuditPack,
    AutomaticAction,
    Campaign,
    Certificate,
    Challenge,
    Decision,
    ExceptionRecord,
    Item,
    QualityVerdict,
    Remediation,
    Trigger,
    WorkItem,
)
from registry.reviews.services import packs
from registry.reviews.services.actions import LADDER
from registry.reviews.services.remediation import cut
from registry.reviews.services.watch import check_items
from registry.trust import services as trust
from tests import factories as make


def in_the_same_hands(server: Server) -> None:
    """Everything there is gets the server's owner and deputy, before facts about it are recorded."""
    Server.objects.update(owner=server.owner, deputy=server.deputy)
    for model in (System, Agent):
        model.objects.update(owner=server.owner)


def under_way(reviewer: User, server: Server, owner: User) -> dict[str, Any]:
    """A campaign in the middle of its work, all of it the reviewer's: equal grants that were certified before, a
    connection with a draft, a server whose facts changed, one that nobody decided on yet; and an intake.
    """
    unassigned = make.grant(server=server)
    moved, stopped, connected = make.active_server(), make.active_server(), make.connection(server=server)
    resting = make.grant(server=server)
    in_the_same_hands(server)
    campaign = make.campaign(reviewer, owner=owner)
    of = {item.subject_pk: item for item in Item.objects.filter(campaign=campaign)}
    catalog.set_purpose(
        actor=make.acting(moved.owner), server=moved, statement="Answers other questions.", in_scope=["All"],
        out_of_scope=[], data_classes=["internal"], ends_on=clock.today() + clock.days(200),
    )  # fmt: skip
    check_items(item_ids=[of[moved.pk].pk])
    draft = make.decide(of[connected.pk], "certify")
    Decision.objects.filter(pk=draft.pk).update(bulk_id=new_id())
    certified = Certificate.objects.filter(ended_at=None, grant__isnull=False).values_list("grant", flat=True)
    alike = [of[pk] for pk in certified]
    for held in WorkItem.objects.filter(item__in=[*alike, of[server.pk]]).select_related("item"):
        reviews.note_opened(actor=make.acting(reviewer), work_item=held)
    of[unassigned.pk].work_items.update(state="closed")
    Item.objects.filter(pk=of[unassigned.pk].pk).update(state="pending")
    submitted = make.submitted_server()
    in_the_same_hands(server)
    intake = make.intake(submitted)
    intake.work_items.update(reviewer=reviewer)
    return {
        "campaign": campaign, "server": of[server.pk], "moved": of[moved.pk], "alike": alike, "intake": intake,
        "drafted": of[connected.pk], "unassigned": of[unassigned.pk], "stopped": of[stopped.pk],
        "resting": of[resting.pk], "bulk": Decision.objects.get(pk=draft.pk).bulk_id,
        "held": AutomaticAction.objects.create(
            item=of[server.pk], kind="suspend", state="held", due_at=clock.now() - clock.days(1)
        ),
    }  # fmt: skip


def pack_of(campaign: Campaign) -> AuditPack:
    asked = packs.pack_campaign(actor=make.acting(campaign.owner), campaign=campaign)
    made = packs.make_pack(pack_id=asked.pk)
    assert made is not None and made.state == "ready", made
    return made


def addresses() -> dict[str, dict[str, Any]]:
    """Keyword arguments of URLs by the start of their name; of several that fit, the longest counts."""
    reviewer = make.person("reviewer", name="Rania Reviewer")
    server = make.active_server()
    grant, connection = make.grant(server=server), make.connection(server=server)
    make.many_grants(make.active_server(), 2)
    in_the_same_hands(server)
    campaign = make.campaign(reviewer)
    of = {item.subject_pk: item for item in Item.objects.filter(campaign=campaign)}
    decisions = {pk: make.decide(item, "revoke" if pk == grant.pk else "certify") for pk, item in of.items()}
    signed = make.sign(campaign, reviewer)
    now = under_way(reviewer, server, campaign.owner)
    remediation = Remediation.objects.get(item__grant=grant)
    verdict = QualityVerdict.objects.filter(reviewer=reviewer).first()
    about = {"remediation": remediation, "reason": "Month-end closing needs it."}
    challenge = Challenge.objects.create(by=server.owner, **about)
    exception = ExceptionRecord.objects.create(
        requested_by=server.owner,
        compensating_control="Calls are watched.",
        expires_at=clock.now() + clock.days(20),
        **about,
    )
    action = AutomaticAction.objects.create(
        item=now["stopped"],
        kind="suspend",
        state="done",
        due_at=clock.now(),
        done_at=clock.now(),
        suspended=[
            pair
            for item in (now["stopped"], now["resting"])
            for pair in cut(LADDER, item, "Nobody answered.", mode="suspend")
        ],
    )
    trigger = Trigger.objects.create(kind="server", server=server, cause="by_hand", detail="A new incident.")
    imported = make.import_job()
    published = make.published_server(release="1.0.0")
    followed = discovery.follow_registry(
        actor=make.acting(make.person("security")), name="Partner", base_url="https://registry.example.test"
    )
    drift = make.drift()
    sighting = make.sighting()
    team = make.team()
    make.token_for(reviewer)
    token = reviewer.api_tokens.get()
    principal = make.service_principal(owner=reviewer)
    absence = reviews.create_delegation(
        actor=make.acting(reviewer),
        delegator=reviewer,
        delegate=make.person("security"),
        starts_on=clock.today() + clock.days(3),
        ends_on=clock.today() + clock.days(9),
    )
    vacancy = Vacancy.objects.create(agent=make.agent(), former_owner=make.person(active=False))
    proposal = vacancy.proposals.create(successor=reviewer, rule="by_hand")
    taken, over = make.emergency_role(), make.emergency_role()
    end_role(actor=make.acting(over.user), elevation=over)
    mapping = GroupRole.objects.create(group="staff", role="member")
    waiting = GroupRole.objects.create(
        group="watch", role="security", state="proposed", proposed_by=make.person("administrator")
    )
    combination = trust.create_combination(
        actor=make.acting(make.person("security")),
        name="Reads secrets, writes mail",
        explanation="What it reads could leave by mail.",
        legs=[{"label": "Reads", "data_classes": ["restricted"]}, {"label": "Mails", "system_kinds": ["messaging"]}],
    )
    pk = {
        "reviews:delegation": absence,
        "api:delegation": absence,
        "accounts:revoke_token": token,
        "accounts:unmap_group": mapping,
        "accounts:decide_group_role": GroupRole.objects.create(
            group="guard", role="security", state="proposed", proposed_by=server.owner
        ),
        "api:group-role-confirm": waiting,
        "api:group-role-refuse": waiting,
        "api:group-role": mapping,
        "accounts:rotate_token": token,
        "accounts:token": token,
        **{f"accounts:{act}principal": principal for act in ("", "edit_", "suspend_", "resume_", "retire_")},
        **{f"accounts:{act}workload_issuer": principal.issuer for act in ("", "edit_", "refresh_", "retire_")},
        "api:service-principal": principal,
        "api:workload-issuer": principal.issuer,
        "accounts:decide_roles": make.role_proposal(user=server.owner),
        "api:role-proposal": make.role_proposal(user=server.deputy),
        "accounts:end_emergency": taken,
        "accounts:review_emergency": over,
        "api:emergency-role": taken,
        "accounts:person": reviewer,
        "accounts:roles": reviewer,
        "accounts:standing": reviewer,
        "api:user": reviewer,
        "api:team": team,
        "api:token": token,
        "catalog:holdings": reviewer,
        "catalog:person_holdings": reviewer,
        "scim:user": reviewer,
        "scim:group": team,
        "audit:event": Event.objects.filter(subject_id=server.pk).first(),
        "api:event": Event.objects.filter(subject_id=server.pk).first(),
        "discovery": imported,
        "discovery:published_panel": server,
        "discovery:registry": followed,
        "api:registry": followed,
        "api:publication": published.publications.get(),
        "api:import": imported,
        "discovery:drift": drift,
        "discovery:definitions_panel": server,
        "api:drift": drift,
        "api:snapshot": drift.snapshot,
        "discovery:secret_source": make.source_of(server),
        "discovery:server_secrets": server,
        "api:secret-check": make.secret_check(server),
        "api:secret-attestation": make.secret_attestation(server),
        "api:secret-state": make.source_of(server),
        "discovery:shadow": sighting.shadow,
        "discovery:server_sightings": server,
        "discovery:server_probes": server,
        "discovery:looks": server,
        "discovery:probe_now": server,
        "discovery:probe": make.probe(server),
        "api:probe": make.probe(server),
        "api:shadow": sighting.shadow,
        "api:sighting": sighting,
        "catalog": server,
        "catalog:system": make.system(),
        "catalog:agent": make.agent(),
        "catalog:issuer": make.issuer(),
        "catalog:visibility_rule": make.visibility_rule(),
        "api:visibility-rule": make.visibility_rule(),
        "api:server": server,
        "api:system": make.system(),
        "api:agent": make.agent(),
        "api:issuer": make.issuer(),
        "api:endpoint": server.endpoints.first(),
        "api:tool": server.tools.first(),
        "api:purpose": server.purpose,
        "api:secret-source": make.source_of(server),
        "trust:grant": grant,
        "trust:connection": connection,
        "trust:server": server,
        "trust:agent": grant.agent,
        "trust:system": connection.system,
        "trust:issuer": make.issuer(),
        "trust:secret_source": make.source_of(server),
        "trust:person": reviewer,
        "trust:team": team,
        "trust:combination": combination,
        "api:combination": combination,
        "api:grant": grant,
        "api:connection": connection,
        "reviews": campaign,
        "reviews:server_panel": server,
        "reviews:agent_panel": grant.agent,
        "reviews:template": campaign.template,
        "reviews:launch": campaign.template,
        "reviews:receipt": signed,
        "reviews:remediation": remediation,
        "reviews:challenge": challenge,
        "reviews:action_restore": action,
        "api:automatic-action": action,
        "api:review-trigger": trigger,
        "reviews:exception": exception,
        "api:template": campaign.template,
        "api:campaign": campaign,
        "api:item": now["server"],
        "api:decision": decisions[server.pk],
        "api:quality-verdict": verdict,
        "reviews:quality": verdict,
        "api:sign-off": signed,
        "api:remediation": remediation,
        "api:challenge": challenge,
        "api:exception": exception,
        "portal:registration": make.draft(),
        "portal:resume": make.draft(),
    }
    asked_for = {
        "grant": make.requested_grant(server=server, requested_by=server.owner),
        "connection": make.requested_connection(server=server, requested_by=server.owner),
    }
    for kind, thing in asked_for.items():
        pk |= {f"trust:{kind}_withdraw": thing, f"api:{kind}-withdraw": thing}
    pack = pack_of(campaign)
    pk |= {
        "accounts:end_session": BrowserSession.objects.create(
            user=reviewer, session_key="of-another-browser", started_at=clock.now(), seen_at=clock.now()
        ),
        "reviews:pack": pack,
        "api:audit-pack": pack,
        "api:item-decide-intake": now["intake"],
        "api:item-confirm-facts": now["moved"],
        "api:item-decide-intake#return": now["intake"],
        "api:item-hand-over#unassigned": now["unassigned"],
        **{f"reviews:{act}": now["campaign"] for act in ("workbench", "bulk", "sign_off", "sign_off_ask", "actions")},
        **{f"api:automatic-action-{act}": now["held"] for act in ("release", "decline")},
    }
    found: dict[str, dict[str, Any]] = {start: {"pk": thing.pk} for start, thing in pk.items() if thing is not None}
    shown = dict.fromkeys(("item", "decide", "unfinished", "recuse", "hand_over"), now["server"])
    shown |= {"decide_intake": now["intake"], "undo": now["drafted"], "confirm_facts": now["moved"]}
    shown |= {"unfinished#discard": now["server"], "hand_over#unassigned": now["unassigned"]}
    for name, item in shown.items():
        found[f"reviews:{name}"] = {"campaign": item.campaign_id, "pk": item.pk}
    found["reviews:bulk"]["items"] = [item.pk for item in now["alike"]]
    namespace, _, short = server.name.partition("/")
    for called, where in (("open", {}), ("door", {"door": "wrong"})):
        found[f"discovery:{called}_servers"] = where
        found[f"discovery:{called}_versions"] = where | {"name": published.name}
        found[f"discovery:{called}_version"] = where | {"name": published.name, "version": "latest"}
        found[f"discovery:{called}_nothing"] = where | {"rest": "ping"}
        found[f"discovery:{called}_export"] = where | {"name": "managed-mcp.json"}
    return found | {
        "accounts:team": {"slug": team.slug},
        "accounts:oidc": {"provider": "nobody"},
        "api:server-snapshots": {"server_pk": server.pk},
        "api:vacancy": {"pk": vacancy.pk},
        "api:proposal": {"pk": proposal.pk},
        "catalog:withdraw_proposal": {"pk": proposal.pk},
        "api:emergency-role-review": {"pk": over.pk},
        "scim:elsewhere": {"rest": "Me"},
        "scim:resource_type": {"key": "User"},
        "scim:schema": {"key": "urn:ietf:params:scim:schemas:core:2.0:User"},
        "audit:server_story": {"pk": server.pk},
        "api:audit-checkpoint": {"pk": new_id()},
        "audit:story": {"subject_type": "server", "subject_id": server.pk},
        "discovery:guide": {"name": "codex"},
        "catalog:server_by_name": {"namespace": namespace, "short": short},
        "catalog:server_tab": {"pk": server.pk, "tab": "tools"},
        "catalog:options": {"kind": "people"},
        "portal:registration": found["portal:registration"] | {"step": "identity"},
        **{
            f"portal:registration#{step}": found["portal:registration"] | {"step": step}
            for step in ("people", "systems", "secrets")
        },
        "reviews:ask_for_review": {"kind": "server", "pk": server.pk},
        "reviews:bulk_done": {"pk": now["campaign"].pk, "bulk_id": now["bulk"]},
        "api:decision-undo-bulk": {"bulk_id": now["bulk"]},
        "reviews:campaign_export": {"pk": campaign.pk, "what": "population", "form": "csv"},
        "reviews:campaign_waive": {"pk": campaign.pk, "gap": "missing_owner"},
        "api:campaign-file": {"pk": campaign.pk, "what": "population", "form": "csv"},
        "reviews:campaign_remind": {"pk": campaign.pk, "reviewer": reviewer.pk},
        "api:certificate": {"subject": Certificate.objects.filter(ended_at=None).first().subject_pk},
    }
