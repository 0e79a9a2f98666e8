"""The families of models, by the name that a configuration and a bundle call them."""

from typing import Any

from training.config import RunConfig
from training.models.base import Family
from training.models.language_model import family as language_model
from training.models.sequence_autoencoder import family as sequence_autoencoder
from training.models.two_stage import family as two_stage

# Each family takes its own type of configuration and of model, which a name alone cannot tell: hence Any.
FAMILIES: dict[str, Family[Any, Any]] = {
    "two-stage": two_stage,
    "language-model": language_model,
    "sequence-autoencoder": sequence_autoencoder,
}
CONFIGS: dict[str, type[RunConfig]] = {name: family.CONFIG for name, family in FAMILIES.items()}
