"""Atoms of the user interface as template tags."""

from django import template

register = template.Library()
