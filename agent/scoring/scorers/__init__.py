"""Scorers: from windows of text ids to scores, one module for each kind of model."""

from collections.abc import Callable
from typing import Any

from agent.bundle.known_texts import Known
from agent.bundle.manifest import Manifest
from agent.scoring.model import ScoringModel
from agent.scoring.scorers.base import CarryingScorer, Explainer, Scorer
from agent.scoring.scorers.explain_reconstruction import ReconstructionExplainer
from agent.scoring.scorers.explain_surprise import SurpriseExplainer
from agent.scoring.scorers.explain_vectors import VectorExplainer
from agent.scoring.scorers.reconstruction import ReconstructionScorer, check_reconstruction
from agent.scoring.scorers.surprise import SurpriseScorer, check_surprise
from agent.scoring.scorers.vectors import check_vectors, codebook_scorer, distance_scorer
from agent.text.text_table import TextTable
from agent.text.tokenizers import Tokenizer

__all__ = ["CHECKS", "EXPLAINERS", "SCORERS", "CarryingScorer", "Explainer", "Scorer"]

# By the name in the manifest: makes a scorer of a model, of the texts that ids are of, and of whether caches are on.
SCORERS: dict[str, Callable[[ScoringModel, TextTable, bool], Scorer]] = {
    "vectors": distance_scorer,
    "codebook": codebook_scorer,
    "surprise": SurpriseScorer,
    "reconstruction": ReconstructionScorer,
}
# Makes what explains the scores of a scorer, which is one of the kind that SCORERS makes.
EXPLAINERS: dict[str, Callable[[Any, Tokenizer, Known], Explainer]] = {
    "vectors": VectorExplainer,
    "codebook": VectorExplainer,
    "surprise": SurpriseExplainer,
    "reconstruction": ReconstructionExplainer,
}
# Refuses, by a BundleError, a manifest that the scorer cannot use.
CHECKS: dict[str, Callable[[Manifest], None]] = {
    "vectors": check_vectors,
    "codebook": check_vectors,
    "surprise": check_surprise,
    "reconstruction": check_reconstruction,
}
