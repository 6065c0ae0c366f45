from django.urls import URLPattern, path, re_path

from registry.discovery.views import drift, imports, probes, publishing, registries, registry, secrets, shadows

app_name = "discovery"

urlpatterns = [
    path("drift/", drift.drifts, name="drifts"),
    path("drift/<uuid:pk>/", drift.drift, name="drift"),
    path("drift/<uuid:pk>/approve/", drift.approve, name="drift_approve"),
    path("observed/<uuid:pk>/definitions/", drift.definitions_panel, name="definitions_panel"),
    path("observed/<uuid:pk>/probes/", probes.server_panel, name="server_probes"),
    path("observed/<uuid:pk>/probe/", probes.probe_now, name="probe_now"),
    path("observed/<uuid:pk>/looks/", probes.looks, name="looks"),
    path("probes/<uuid:pk>/", probes.probe, name="probe"),
    path("probes/<uuid:pk>/progress/", probes.progress, name="probe_progress"),
    path("imports/", imports.imports, name="imports"),
    path("imports/new/", imports.NewImport.as_view(), name="import_new"),
    path("imports/<uuid:pk>/", imports.import_job, name="import"),
    path("imports/<uuid:pk>/progress/", imports.progress, name="import_progress"),
    path("imports/<uuid:pk>/results.csv", imports.results_csv, name="import_csv"),
    path("imports/<uuid:pk>/start/", imports.start, name="import_start"),
    path("imports/<uuid:pk>/stop/", imports.stop, name="import_stop"),
    path("shadows/", shadows.shadows, name="shadows"),
    path("shadows/list.csv", shadows.shadows_csv, name="shadows_csv"),
    path("shadows/<uuid:pk>/", shadows.shadow, name="shadow"),
    path("shadows/<uuid:pk>/link/", shadows.link, name="shadow_link"),
    path("shadows/<uuid:pk>/ignore/", shadows.ignore, name="shadow_ignore"),
    path("shadows/<uuid:pk>/reopen/", shadows.reopen, name="shadow_reopen"),
    path("observed/<uuid:pk>/sightings/", shadows.server_sightings, name="server_sightings"),
    path("secret-sources/", secrets.sources, name="secret_sources"),
    path("secret-sources/list.csv", secrets.sources_csv, name="secret_sources_csv"),
    path("secret-sources/<uuid:pk>/", secrets.source, name="secret_source"),
    path("secret-sources/<uuid:pk>/check/", secrets.check, name="secret_source_check"),
    path("secret-sources/<uuid:pk>/attest/", secrets.attest, name="secret_source_attest"),
    path("observed/<uuid:pk>/secret-sources/", secrets.server_panel, name="server_secrets"),
    path("publishing/", publishing.publishing, name="publishing"),
    path("publishing/clients/<slug:name>/", publishing.guide, name="guide"),
    path("publishing/servers/", publishing.published, name="published"),
    path("registries/", registries.registries, name="registries"),
    path("registries/new/", registries.NewRegistry.as_view(), name="registry_new"),
    path("registries/<uuid:pk>/", registries.registry, name="registry"),
    path("registries/<uuid:pk>/progress/", registries.progress, name="registry_progress"),
    path("registries/<uuid:pk>/edit/", registries.EditRegistry.as_view(), name="registry_edit"),
    path("registries/<uuid:pk>/pause/", registries.pause, name="registry_pause"),
    path("registries/<uuid:pk>/resume/", registries.resume, name="registry_resume"),
    path("registries/<uuid:pk>/sync/", registries.sync, name="registry_sync"),
    path("observed/<uuid:pk>/published/", publishing.server_panel, name="published_panel"),
]


def _doors() -> list[URLPattern]:
    """What clients read, at its own address and once more behind the token of PUBLISH_PATH_TOKEN.

    A name has one slash, which arrives escaped, unescaped by the web server, or escaped again by a proxy.
    """
    name = r"(?P<name>[^/%]+(?:/|%2[Ff])[^/%]+)"
    patterns = []
    for start, called in (("", "open"), (r"r/(?P<door>[A-Za-z0-9_-]+)/", "door")):
        api = rf"^{start}v0\.1/"
        patterns += [
            re_path(rf"{api}servers/?$", registry.servers, name=f"{called}_servers"),
            re_path(rf"{api}servers/{name}/versions/?$", registry.versions, name=f"{called}_versions"),
            re_path(rf"{api}servers/{name}/versions/(?P<version>.+?)/?$", registry.version, name=f"{called}_version"),
            re_path(rf"{api}(?P<rest>.*)$", registry.nothing, name=f"{called}_nothing"),
            re_path(rf"^{start}exports/(?P<name>[a-z.-]+)$", publishing.export, name=f"{called}_export"),
        ]
    return patterns


urlpatterns += _doors()
