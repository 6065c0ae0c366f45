from django.urls import path

from registry.catalog import succession_views, views, visibility_views

app_name = "catalog"

urlpatterns = [
    path("servers/", views.servers, name="servers"),
    path("servers/completeness/", views.servers_completeness, name="servers_completeness"),
    path("servers/<uuid:pk>/", views.server, name="server"),
    path("servers/<uuid:pk>/server.json", views.server_json, name="server_json"),
    path("servers/<uuid:pk>/submit/", views.submit, name="submit"),
    path("servers/<uuid:pk>/withdraw/", views.withdraw, name="withdraw"),
    path("servers/<uuid:pk>/accept/", views.accept, name="accept"),
    path("servers/<uuid:pk>/suspend/", views.LifecycleView.as_view(act="suspend"), name="suspend"),
    path("servers/<uuid:pk>/resume/", views.LifecycleView.as_view(act="resume"), name="resume"),
    path("servers/<uuid:pk>/retire/", views.LifecycleView.as_view(act="retire"), name="retire"),
    path("servers/<uuid:pk>/<slug:tab>/", views.server, name="server_tab"),
    path("servers/<str:namespace>/<str:short>/", views.server_by_name, name="server_by_name"),
    path("systems/", views.systems, name="systems"),
    path("systems/new/", views.SystemEdit.as_view(), name="system_new"),
    path("systems/<uuid:pk>/", views.system, name="system"),
    path("systems/<uuid:pk>/edit/", views.SystemEdit.as_view(), name="system_edit"),
    path("systems/<uuid:pk>/retire/", views.RetireView.as_view(kind="system"), name="system_retire"),
    path("agents/", views.agents, name="agents"),
    path("agents/new/", views.AgentEdit.as_view(), name="agent_new"),
    path("agents/<uuid:pk>/", views.agent, name="agent"),
    path("agents/<uuid:pk>/edit/", views.AgentEdit.as_view(), name="agent_edit"),
    path("agents/<uuid:pk>/retire/", views.RetireView.as_view(kind="agent"), name="agent_retire"),
    path("issuers/", views.issuers, name="issuers"),
    path("issuers/new/", views.IssuerNew.as_view(), name="issuer_new"),
    path("issuers/<uuid:pk>/", views.issuer, name="issuer"),
    path("issuers/<uuid:pk>/retire/", views.RetireView.as_view(kind="issuer"), name="issuer_retire"),
    path("succession/", succession_views.succession, name="succession"),
    path("succession/<uuid:pk>/", succession_views.holdings, name="holdings"),
    path("succession/<uuid:pk>/holdings/", succession_views.person_holdings, name="person_holdings"),
    path("succession/proposals/<uuid:pk>/withdraw/", succession_views.withdraw_proposal, name="withdraw_proposal"),
    path("visibility-rules/", visibility_views.visibility_rules, name="visibility_rules"),
    path("visibility-rules/new/", visibility_views.visibility_rule_new, name="visibility_rule_new"),
    path("visibility-rules/<uuid:pk>/drop/", visibility_views.visibility_rule_drop, name="visibility_rule_drop"),
    path("options/<slug:kind>/", views.options, name="options"),
]
