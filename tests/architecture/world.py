"""One of everything, so that every URL has something true to point at."""

from typing import Any

from registry.accounts.models import GroupRole
from registry.accounts.services import end_role
from registry.audit.models import Event
from registry.catalog.models import Vacancy
from registry.core import clock
from registry.core.ids import new_id
from registry.discovery import services as discovery
from registry.reviews import services as reviews
from registry.reviews.models import (
    AutomaticAction,
    Certificate,
    Challenge,
    ExceptionRecord,
    Item,
    QualityVerdict,
    Remediation,
    Trigger,
)
from registry.trust import services as trust
from tests import factories as make


def addresses() -> dict[str, dict[str, Any]]:
    """Keyword arguments of URLs by the start of their name; of several that fit, the longest counts."""
    reviewer = make.person("reviewer", name="Rania Reviewer")
    server = make.active_server()
    grant, connection = make.grant(server=server), make.connection(server=server)
    campaign = make.campaign(reviewer, make.person("reviewer"))
    items = {item.kind: item for item in Item.objects.filter(campaign=campaign)}
    decisions = {kind: make.decide(item, "revoke" if kind == "grant" else "certify") for kind, item in items.items()}
    signer = decisions["grant"].work_item.reviewer
    others = {decision.work_item.reviewer for decision in decisions.values()} - {signer}
    signed, *_ = [make.sign(campaign, each) for each in (signer, *others)]
    remediation = Remediation.objects.get(item=items["grant"])
    verdict = QualityVerdict.objects.filter(reviewer=signer).first()
    about = {"remediation": remediation, "reason": "Month-end closing needs it."}
    challenge = Challenge.objects.create(by=server.owner, **about)
    exception = ExceptionRecord.objects.create(
        requested_by=server.owner,
        compensating_control="Calls are watched.",
        expires_at=clock.now() + clock.days(20),
        **about,
    )
    action = AutomaticAction.objects.create(
        item=items["server"], kind="suspend", state="done", due_at=clock.now(), done_at=clock.now()
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
        "accounts:end_session": token,
        "api:group-role": mapping,
        "accounts:rotate_token": token,
        "accounts:token": token,
        **{f"accounts:{act}principal": principal for act in ("", "edit_", "suspend_", "resume_", "retire_")},
        **{f"accounts:{act}workload_issuer": principal.issuer for act in ("", "edit_", "refresh_", "retire_")},
        "api:service-principal": principal,
        "api:workload-issuer": principal.issuer,
        "accounts:decide_roles": make.role_proposal(),
        "api:role-proposal": make.role_proposal(),
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
        "api:item": items["server"],
        "api:decision": decisions["server"],
        "api:quality-verdict": verdict,
        "reviews:quality": verdict,
        "api:sign-off": signed,
        "api:remediation": remediation,
        "api:challenge": challenge,
        "api:exception": exception,
        "portal:registration": make.draft(),
        "portal:resume": make.draft(),
    }
    found: dict[str, dict[str, Any]] = {start: {"pk": thing.pk} for start, thing in pk.items() if thing is not None}
    for name in ("item", "decide", "decide_intake", "undo", "unfinished", "confirm_facts", "recuse", "hand_over"):
        found[f"reviews:{name}"] = {"campaign": campaign.pk, "pk": items["server"].pk}
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
        "api:audit-pack": {"pk": new_id()},
        "audit:story": {"subject_type": "server", "subject_id": server.pk},
        "discovery:guide": {"name": "codex"},
        "catalog:server_by_name": {"namespace": namespace, "short": short},
        "catalog:server_tab": {"pk": server.pk, "tab": "tools"},
        "catalog:options": {"kind": "people"},
        "portal:registration": found["portal:registration"] | {"step": "identity"},
        "reviews:ask_for_review": {"kind": "server", "pk": server.pk},
        "reviews:bulk_done": {"pk": campaign.pk, "bulk_id": new_id()},
        "api:decision-undo-bulk": {"bulk_id": new_id()},
        "reviews:campaign_export": {"pk": campaign.pk, "what": "population", "form": "csv"},
        "reviews:campaign_waive": {"pk": campaign.pk, "gap": "missing_owner"},
        "api:campaign-file": {"pk": campaign.pk, "what": "population", "form": "csv"},
        "reviews:campaign_remind": {"pk": campaign.pk, "reviewer": signer.pk},
        "api:certificate": {"subject": Certificate.objects.filter(ended_at=None).first().subject_pk},
    }
