from django.urls import path

from registry.audit import views

app_name = "audit"
urlpatterns = [
    path("audit", views.events, name="events"),
    path("audit/events.csv", views.export, name="export"),
    path("audit/chain", views.chain, name="chain"),
    path("audit/events/<uuid:pk>", views.event, name="event"),
    path("audit/story/<slug:subject_type>/<uuid:subject_id>", views.story, name="story"),
]
