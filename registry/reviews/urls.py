from django.urls import path

from registry.reviews.views import campaigns, certificates, setup, sign_off, workbench

app_name = "reviews"

urlpatterns = [
    path("reviews/", campaigns.campaigns, name="campaigns"),
    path("reviews/inbox/", workbench.inbox, name="inbox"),
    path("reviews/certificates/", certificates.certificates, name="certificates"),
    path("reviews/panels/server/<uuid:pk>/", certificates.server_panel, name="server_panel"),
    path("reviews/templates/", setup.templates, name="templates"),
    path("reviews/templates/new/", setup.TemplateEdit.as_view(), name="template_new"),
    path("reviews/templates/count/", setup.count, name="template_count"),
    path("reviews/templates/<uuid:pk>/edit/", setup.TemplateEdit.as_view(), name="template_edit"),
    path("reviews/templates/<uuid:pk>/launch/", setup.Launch.as_view(), name="launch"),
    path("reviews/<uuid:pk>/", campaigns.campaign, name="campaign"),
    path("reviews/<uuid:pk>/progress/", campaigns.progress_fragment, name="campaign_progress"),
    path("reviews/<uuid:pk>/items.csv", campaigns.items_csv, name="campaign_csv"),
    path("reviews/<uuid:pk>/activate/", campaigns.activate, name="campaign_activate"),
    path("reviews/<uuid:pk>/retry/", campaigns.retry, name="campaign_retry"),
    path("reviews/<uuid:pk>/resume/", campaigns.resume, name="campaign_resume"),
    path("reviews/<uuid:pk>/remind/<uuid:reviewer>/", campaigns.remind, name="campaign_remind"),
    path("reviews/<uuid:pk>/cancel/", campaigns.Cancel.as_view(), name="campaign_cancel"),
    path("reviews/<uuid:pk>/extend/", campaigns.Extend.as_view(), name="campaign_extend"),
    path("reviews/<uuid:pk>/close/", campaigns.Close.as_view(), name="campaign_close"),
    path("reviews/<uuid:pk>/workbench/", workbench.workbench, name="workbench"),
    path("reviews/<uuid:pk>/sign-off/", sign_off.SignOffView.as_view(), name="sign_off"),
    path("reviews/sign-offs/<uuid:pk>/", sign_off.receipt, name="receipt"),
    path("reviews/<uuid:campaign>/items/<uuid:pk>/", workbench.item, name="item"),
    path("reviews/<uuid:campaign>/items/<uuid:pk>/decide/", workbench.decide, name="decide"),
    path("reviews/<uuid:campaign>/items/<uuid:pk>/intake/", workbench.decide_intake, name="decide_intake"),
    path("reviews/<uuid:campaign>/items/<uuid:pk>/undo/", workbench.undo, name="undo"),
    path("reviews/<uuid:campaign>/items/<uuid:pk>/seen/", workbench.confirm_facts, name="confirm_facts"),
    path("reviews/<uuid:campaign>/items/<uuid:pk>/recuse/", workbench.Recuse.as_view(), name="recuse"),
    path("reviews/<uuid:campaign>/items/<uuid:pk>/hand-over/", workbench.HandOver.as_view(), name="hand_over"),
    path("reviews/remediations/<uuid:pk>/confirm/", campaigns.Confirm.as_view(), name="remediation_confirm"),
]
