from django.urls import path

from registry.audit import views

app_name = "audit"
urlpatterns = [
    path("audit", views.events, name="events"),
    path("audit/events.csv", views.export, name="export"),
    path("audit/log.jsonl", views.export_whole, name="export_log"),
    path("audit/chain", views.chain, name="chain"),
    path("audit/keys.txt", views.keys, name="keys"),
    path("audit/checkpoint.txt", views.checkpoint, name="checkpoint"),
    path("audit/events/<uuid:pk>", views.event, name="event"),
    path("audit/story/<slug:subject_type>/<uuid:subject_id>", views.story, name="story"),
    path("audit/servers/<uuid:pk>", views.server_story, name="server_story"),
    path("audit/servers/<uuid:pk>.csv", views.server_story_csv, name="server_story_csv"),
    path("audit/servers/<uuid:pk>.jsonl", views.server_story_proved, name="server_story_proved"),
]
