"""Pipelines with settings of both halves by their names."""

from dataclasses import fields

from agent.alerting.echo_guard import EchoGuard
from agent.alerting.pipeline import Pipeline
from agent.alerting.settings import AlertSettings
from agent.bundle.bundle import Bundle
from agent.scoring.settings import ScoringSettings

_OF_SCORING = {field.name for field in fields(ScoringSettings)}


def make_pipeline(bundle: Bundle, guard: EchoGuard | None = None, **settings: object) -> Pipeline:
    """A pipeline of these settings, as ScoringSettings and AlertSettings name them."""
    scoring = {name: value for name, value in settings.items() if name in _OF_SCORING}
    alerting = {name: value for name, value in settings.items() if name not in _OF_SCORING}
    return Pipeline(bundle, ScoringSettings(**scoring), AlertSettings(**alerting), guard)
