"""Who gets what answer to a GET of each URL: anonymous, signed in without a role, a member with nothing special.

A URL without a row fails: whoever adds one decides here, in the open, who may read it. What a POST may do is
decided by the services and tested with them; 405 here means that a URL takes only POST.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from tests.architecture.world import addresses
from tests.factories import outsider, person

ANSWERS: dict[tuple[int, int, int], str] = {
    # public
    (200, 200, 200): """
        help portal:api_docs portal:openapi
        discovery:open_export discovery:open_servers discovery:open_version discovery:open_versions
    """,
    # for those who are not signed in
    (200, 302, 302): """
        accounts:sign_in
    """,
    # leads on: whoever signed in just now need not confirm it
    (302, 302, 302): """
        accounts:confirm
    """,
    # one's own
    (302, 200, 200): """
        accounts:account accounts:tokens portal:home
    """,
    # pages every member reads
    (302, 403, 200): """
        accounts:machines accounts:machine_findings accounts:machine_tokens accounts:new_principal accounts:principal
        accounts:workload_issuer accounts:workload_issuers
        accounts:people accounts:teams audit:events audit:export audit:keys audit:server_story
        audit:server_story_csv audit:server_story_proved catalog:agent catalog:agent_new
        catalog:agents catalog:holdings catalog:issuer catalog:issuers catalog:person_holdings
        catalog:options catalog:server catalog:server_json
        catalog:server_tab catalog:servers catalog:servers_completeness catalog:system
        catalog:system_new catalog:systems catalog:succession portal:register portal:register_by_hand portal:search
        discovery:definitions_panel discovery:drift discovery:drifts
        discovery:published discovery:published_panel discovery:guide discovery:publishing
        discovery:registries discovery:registry discovery:registry_progress
        discovery:import discovery:import_csv discovery:import_new discovery:import_progress discovery:imports
        discovery:server_sightings discovery:shadow discovery:shadows discovery:shadows_csv
        discovery:secret_source discovery:secret_sources discovery:secret_sources_csv discovery:server_secrets
        discovery:looks discovery:probe discovery:probe_progress discovery:server_probes
        reviews:delegations reviews:report reviews:statistics
        reviews:actions reviews:campaign reviews:campaign_csv reviews:campaign_progress reviews:campaigns
        reviews:bulk reviews:receipt_decisions
        reviews:certificates reviews:inbox reviews:item reviews:ladder_panel reviews:launch reviews:receipt
        reviews:simulation reviews:triggers
        reviews:agent_panel reviews:exceptions reviews:remediation reviews:remediations
        reviews:server_panel reviews:sign_off reviews:templates reviews:workbench trust:agent_impact
        trust:agent_radius trust:combination trust:combinations trust:connection_impact trust:explore
        trust:explore_csv trust:explore_json trust:explore_options trust:explore_svg trust:grant_impact trust:hygiene
        trust:issuer_impact trust:issuer_radius trust:person_impact trust:person_radius trust:server_radius
        trust:secret_source_impact trust:secret_source_radius
        trust:server_sources trust:system_radius trust:team_impact trust:team_radius
        trust:agent_panel trust:connection trust:grant trust:relationships trust:relationships_csv
        trust:request_connection trust:request_grant trust:requests trust:server_impact
        trust:server_panel trust:server_relationships trust:system_impact trust:system_panel
    """,
    (302, 403, 302): """
        catalog:server_by_name
    """,
    # pages for a role or for the people concerned
    (302, 403, 403): """
        accounts:edit_principal accounts:edit_workload_issuer accounts:new_workload_issuer
        accounts:group_roles
        accounts:new_person accounts:new_team audit:chain audit:export_log catalog:agent_edit catalog:agent_retire
        discovery:registry_edit discovery:registry_new
        catalog:issuer_new catalog:issuer_retire catalog:resume catalog:retire catalog:suspend
        catalog:system_edit catalog:system_retire reviews:action_restore reviews:ask_for_review
        reviews:campaign_accept reviews:campaign_assign reviews:campaign_cancel reviews:campaign_close
        reviews:campaign_waive reviews:campaign_export reviews:campaign_extend
        reviews:challenge_decide reviews:exception_decide reviews:exception_end
        reviews:hand_over reviews:recuse reviews:remediation_confirm reviews:remediation_except
        reviews:remediation_object reviews:remediation_report reviews:remediation_retry
        reviews:template_count reviews:template_edit reviews:template_new trust:connection_approve
        trust:connection_reduce trust:connection_refuse trust:connection_resume trust:connection_revoke
        trust:connection_secret_source trust:connection_suspend trust:connection_withdraw
        trust:grant_approve trust:grant_reduce trust:grant_refuse trust:grant_resume trust:grant_revoke
        trust:grant_suspend trust:grant_withdraw trust:combination_edit trust:combination_new trust:combination_retire
    """,
    (302, 403, 404): """
        catalog:withdraw_proposal
        audit:checkpoint audit:event reviews:bulk_done reviews:quality
    """,
    (302, 404, 200): """
        accounts:person accounts:team
    """,
    (302, 404, 403): """
        portal:registration portal:resume
    """,
    (302, 404, 404): """
        accounts:revoke_token accounts:token accounts:rotate_token
    """,
    # REST: what every member reads
    (401, 403, 200): """
        api:machine-findings api:service-principal-detail api:service-principal-list
        api:workload-issuer-detail api:workload-issuer-list
        api:agent-detail api:agent-list api:audit-checkpoint-list api:audit-consistency api:audit-keys
        api:automatic-action-detail api:automatic-action-list
        api:campaign-summary api:delegation-list api:reviewer-statistics-list api:template-preview
        api:campaign-simulation api:review-trigger-detail api:review-trigger-list
        api:campaign-detail api:campaign-list api:certificate-detail
        api:certificate-list api:challenge-detail api:challenge-list api:exception-detail api:exception-list
        api:connection-detail api:connection-list api:decision-detail api:decision-list
        api:endpoint-detail api:endpoint-list api:event-list api:grant-detail api:grant-list
        api:drift-detail api:drift-list api:server-snapshots api:snapshot-detail api:snapshot-list
        api:publication-detail api:publication-list api:registry-detail api:registry-entries api:registry-list
        api:import-detail api:import-list api:import-results api:probe-detail api:probe-list
        api:secret-attestation-detail api:secret-attestation-list api:secret-check-detail api:secret-check-list
        api:secret-state-detail api:secret-state-list
        api:shadow-detail api:shadow-list api:sighting-detail api:sighting-list
        api:issuer-detail api:issuer-list api:item-detail api:item-list api:purpose-detail
        api:purpose-list api:quality-verdict-list api:remediation-detail api:remediation-list api:secret-source-detail
        api:secret-source-list api:server-detail api:server-list api:sign-off-detail api:sign-off-list
        api:system-detail api:system-list api:team-detail api:team-list api:template-detail
        api:template-list api:template-scope api:token-list api:tool-detail api:tool-list
        api:combination-detail api:combination-list api:trust-changes api:trust-crossings api:trust-diffuse
        api:trust-orphans api:trust-relationships api:trust-shared-secrets api:trust-sightings api:trust-stats
        api:trust-unused
        api:proposal-list api:user-detail api:user-list api:vacancy-list
    """,
    (401, 403, 404): """
        api:proposal-detail api:vacancy-detail
        api:audit-checkpoint-detail api:delegation-detail api:event-detail api:event-proof api:quality-verdict-detail api:token-detail
    """,
    # REST: what those read who run a campaign or oversee all; and SCIM, where only the directory's own token speaks
    (401, 403, 403): """
        scim:config scim:elsewhere scim:group scim:groups scim:resource_type scim:resource_types scim:schema
        scim:schemas scim:search_groups scim:search_users scim:user scim:users
        api:campaign-file api:group-role-detail api:group-role-list
    """,
    # REST: acts
    (401, 403, 405): """
        api:proposal-accept api:proposal-decline api:proposal-withdraw
        api:campaign-accept api:campaign-assign-reviewer api:campaign-recheck api:delegation-end api:campaign-waive
        api:registry-pause api:registry-resume api:registry-sync
        api:automatic-action-decline api:automatic-action-release api:automatic-action-restore
        api:agent-retire api:campaign-activate api:campaign-cancel api:campaign-close
        api:campaign-extend api:campaign-remind api:campaign-retry-assignment
        api:campaign-retry-generation api:connection-approve api:connection-reduce api:connection-refuse
        api:connection-resume api:connection-revoke api:connection-secret-source api:connection-suspend
        api:connection-withdraw api:grant-approve api:grant-reduce api:grant-refuse api:grant-resume
        api:grant-revoke api:grant-suspend api:grant-withdraw api:issuer-retire api:item-confirm-facts
        api:drift-approve api:import-start api:import-stop
        api:shadow-ignore api:shadow-link api:shadow-register api:shadow-reopen
        api:decision-decide-bulk api:decision-undo-bulk api:quality-verdict-confirm
        api:item-decide-intake api:item-hand-over api:item-recuse api:remediation-confirm
        api:remediation-challenge api:remediation-exception api:remediation-observe api:remediation-report
        api:remediation-retry api:challenge-decide api:exception-approve api:exception-end api:exception-refuse
        api:server-accept-ownership api:server-endpoints api:server-override-tier api:server-people
        api:server-purpose api:server-resume api:server-retire api:server-revocation-path
        api:server-secret-sources api:server-submit api:server-suspend api:server-tools
        api:service-principal-resume api:service-principal-retire api:service-principal-suspend
        api:token-rotate api:workload-issuer-refresh-keys api:workload-issuer-retire
        api:server-withdraw api:system-retire api:token-revoke api:combination-retire api:trust-ask
    """,
    (401, 403, 422): """
        api:decision-bulk-candidates api:trust-access api:trust-blast-radius api:trust-difference api:trust-export
        api:trust-impact api:trust-paths api:trust-reach
    """,
    (404, 404, 200): """
        audit:story
    """,
    # behind the address with the token of this installation, of which there is none here
    (404, 404, 404): """
        accounts:oidc_begin accounts:oidc_callback
        discovery:door_export discovery:door_nothing discovery:door_servers discovery:door_version
        discovery:door_versions discovery:open_nothing
    """,
    # acts: POST only
    (405, 405, 405): """
        discovery:registry_pause discovery:registry_resume discovery:registry_sync
        accounts:refresh_workload_issuer accounts:resume_principal accounts:retire_principal
        accounts:retire_workload_issuer accounts:suspend_principal
        accounts:end_other_sessions accounts:end_session accounts:oidc_logout accounts:unmap_group
        accounts:password accounts:roles accounts:sign_out accounts:standing catalog:accept
        catalog:submit catalog:withdraw discovery:drift_approve discovery:import_start discovery:import_stop
        discovery:secret_source_attest discovery:secret_source_check
        discovery:probe_now discovery:shadow_ignore discovery:shadow_link discovery:shadow_reopen
        reviews:campaign_activate reviews:campaign_recheck reviews:campaign_remind reviews:delegation_end
        reviews:campaign_resume reviews:campaign_retry reviews:confirm_facts reviews:decide
        reviews:decide_intake reviews:sign_off_ask reviews:undo reviews:unfinished theme
    """,
}
MATRIX = {name: answers for answers, names in ANSWERS.items() for name in names.split()}


def url_patterns(patterns: list[Any], namespace: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from url_patterns(pattern.url_patterns, inner)
        else:
            yield f"{namespace}{pattern.name or ''}", pattern


PATTERNS = dict(url_patterns(get_resolver().url_patterns))


def path_of(name: str, known: dict[str, dict[str, Any]]) -> str:
    wanted = set(PATTERNS[name].pattern.regex.groupindex) | set(PATTERNS[name].pattern.converters)
    if not wanted:
        return reverse(name)
    start = max((start for start in known if name.startswith(start)), key=len, default="")
    assert start and wanted <= set(known[start]), f"tests/architecture/world.py has nothing for {name} {sorted(wanted)}"
    return reverse(name, kwargs={key: known[start][key] for key in wanted})


def test_every_url_has_a_name_and_a_row():
    assert "" not in {name.rpartition(":")[2] for name in PATTERNS}, "a URL has no name"
    assert set(PATTERNS) == set(MATRIX)


@pytest.mark.django_db
def test_who_may_read_what(web):
    known = addresses()
    clients = (web(raise_request_exception=True), web(outsider()), web(person()))
    answers = {
        name: tuple(client.get(path_of(name, known)).status_code for client in clients) for name in sorted(PATTERNS)
    }
    assert answers == MATRIX
