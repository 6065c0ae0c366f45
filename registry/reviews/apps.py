from django.apps import AppConfig


class ReviewsConfig(AppConfig):
    name = "registry.reviews"
    verbose_name = "Reviews"
