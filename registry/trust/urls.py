from django.urls import path

from registry.trust import views

app_name = "trust"

urlpatterns = [
    path("trust/", views.relationships, name="relationships"),
    path("trust/relationships.csv", views.relationships_csv, name="relationships_csv"),
    path("trust/requests/", views.requests, name="requests"),
    path("trust/grants/new/", views.RequestGrant.as_view(), name="request_grant"),
    path("trust/connections/new/", views.RequestConnection.as_view(), name="request_connection"),
    path("trust/grants/<uuid:pk>/", views.relationship, {"kind": "grant"}, name="grant"),
    path("trust/connections/<uuid:pk>/", views.relationship, {"kind": "connection"}, name="connection"),
    *(
        path(
            f"trust/{kind}s/<uuid:pk>/{act.name}/",
            views.ActView.as_view(act=act.name, kind=kind),
            name=f"{kind}_{act.name.replace('-', '_')}",
        )
        for act in views.ACTS.values()
        for kind in act.kinds
    ),
    path("trust/panels/server/<uuid:pk>/", views.server_panel, name="server_panel"),
    path("trust/panels/server/<uuid:pk>/relationships/", views.server_relationships, name="server_relationships"),
    path("trust/panels/server/<uuid:pk>/impact/", views.server_impact, name="server_impact"),
    path("trust/panels/agent/<uuid:pk>/", views.agent_panel, name="agent_panel"),
    path("trust/panels/agent/<uuid:pk>/impact/", views.agent_impact, name="agent_impact"),
    path("trust/panels/system/<uuid:pk>/", views.system_panel, name="system_panel"),
    path("trust/panels/system/<uuid:pk>/impact/", views.system_impact, name="system_impact"),
]
