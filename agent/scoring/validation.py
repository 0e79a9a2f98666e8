"""Bundle validation: what a bundle must be beyond the types in its manifest, usable rules and graphs that fit."""

from typing import Any

from agent.bundle.bundle import Bundle
from agent.bundle.manifest import Manifest, Scale
from agent.errors import BundleError, ConfigError
from agent.scoring.relative import check_relative
from agent.scoring.scorers import CHECKS, SCORERS
from agent.scoring.streams import StreamKey
from agent.scoring.threshold import Limits, check_threshold
from agent.text.canonical import select_masks
from agent.text.headers import check_format
from agent.text.tokenizers.fields import FieldTokenizer


def validate_bundle(bundle: Bundle) -> None:
    """Refuses a bundle that cannot be used for scoring; a BundleError says why."""
    manifest = bundle.manifest
    if manifest.scorer not in SCORERS:
        raise BundleError(
            f"bundle {bundle.path} needs the scorer {manifest.scorer!r}, this agent has {', '.join(SCORERS)}; "
            "update oddline"
        )
    try:
        _check_rules(manifest)
        _check_fields(bundle)
        _check_scale(manifest.scale)
        Limits(manifest.threshold, manifest.scale)
        _check_share(manifest.settings.get("slow_walk_share", 0))
        CHECKS[manifest.scorer](manifest)
    except (BundleError, ConfigError) as error:
        raise BundleError(f"bundle {bundle.path}: {error}") from None
    bundle.recorded()


def _check_rules(manifest: Manifest) -> None:
    check_format(manifest.header)
    select_masks(manifest.masks)
    StreamKey(manifest.stream)
    check_threshold(manifest.threshold)
    if manifest.relative is not None:
        check_relative(manifest.relative)
        if manifest.window.end:
            raise BundleError("relative scores do not go with window.end; export it again")


def _check_fields(bundle: Bundle) -> None:
    """Whether a tokenizer of fields is of the records that the lines are."""
    tokenizer = bundle.tokenizer
    if isinstance(tokenizer, FieldTokenizer) and tokenizer.records != bundle.manifest.header:
        raise BundleError("tokenizer.json is of other records than the manifest's header; export it again")


def _check_scale(scale: Scale) -> None:
    if not scale.scores or len(scale.scores) != len(scale.quantiles):
        raise BundleError(
            f"scale: {len(scale.quantiles)} quantiles and {len(scale.scores)} scores do not belong together"
        )
    if scale.quantiles != sorted(scale.quantiles) or scale.scores != sorted(scale.scores):
        raise BundleError("scale: its quantiles or scores do not rise")
    if scale.std < 0 or scale.lines < 0:
        raise BundleError(f"scale: a deviation of {scale.std:g} over {scale.lines} lines is not possible")


def _check_share(share: Any) -> None:
    if type(share) not in (int, float) or not 0 <= share < 1:
        raise BundleError("the setting 'slow_walk_share' must be a number from 0 to below 1; export it again")
