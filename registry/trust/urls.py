from django.urls import path

from registry.trust.views import acts, asking, combinations, explore, hygiene, lists, panels

app_name = "trust"

urlpatterns = [
    path("trust/", lists.relationships, name="relationships"),
    path("trust/relationships.csv", lists.relationships_csv, name="relationships_csv"),
    path("trust/explore/", explore.explore, name="explore"),
    path("trust/explore/options/", explore.options, name="explore_options"),
    path("trust/explore.svg", explore.explore_svg, name="explore_svg"),
    path("trust/explore.csv", explore.explore_csv, name="explore_csv"),
    path("trust/explore.json", explore.explore_json, name="explore_json"),
    path("trust/combinations/", combinations.combinations, name="combinations"),
    path("trust/combinations/new/", combinations.CombinationEdit.as_view(), name="combination_new"),
    path("trust/combinations/<uuid:pk>/", combinations.combination, name="combination"),
    path("trust/combinations/<uuid:pk>/edit/", combinations.CombinationEdit.as_view(), name="combination_edit"),
    path("trust/combinations/<uuid:pk>/retire/", combinations.CombinationRetire.as_view(), name="combination_retire"),
    path("trust/hygiene/", hygiene.hygiene, name="hygiene"),
    path("trust/requests/", lists.requests, name="requests"),
    path("trust/grants/new/", asking.RequestGrant.as_view(), name="request_grant"),
    path("trust/connections/new/", asking.RequestConnection.as_view(), name="request_connection"),
    path("trust/grants/<uuid:pk>/", acts.relationship, {"kind": "grant"}, name="grant"),
    path("trust/connections/<uuid:pk>/", acts.relationship, {"kind": "connection"}, name="connection"),
    *(
        path(
            f"trust/{kind}s/<uuid:pk>/{act.name}/",
            acts.ActView.as_view(act=act.name, kind=kind),
            name=f"{kind}_{act.name.replace('-', '_')}",
        )
        for act in acts.ACTS.values()
        for kind in act.kinds
    ),
    path("trust/panels/server/<uuid:pk>/", panels.server_panel, name="server_panel"),
    path("trust/panels/server/<uuid:pk>/relationships/", panels.server_relationships, name="server_relationships"),
    path("trust/panels/server/<uuid:pk>/sources/", panels.server_sources, name="server_sources"),
    path("trust/panels/agent/<uuid:pk>/", panels.agent_panel, name="agent_panel"),
    path("trust/panels/system/<uuid:pk>/", panels.system_panel, name="system_panel"),
    *(
        path(f"trust/panels/{kind}/<uuid:pk>/radius/", panels.radius_panel, {"kind": kind}, name=f"{kind}_radius")
        for kind in ("agent", "server", "system", "secret_source", "issuer", "team", "person")
    ),
    *(
        path(f"trust/panels/{kind}/<uuid:pk>/impact/", panels.impact_panel, {"kind": kind}, name=f"{kind}_impact")
        for kind in ("agent", "server", "system", "secret_source", "issuer", "team", "person", "grant", "connection")
    ),
]
