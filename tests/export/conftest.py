"""Bundles that were trained by these tests, in place of the small ones that are kept."""

from helpers.trained import bundle, codebook_bundle, padded_bundle, sequence_bundle, timed_bundle

__all__ = ["bundle", "codebook_bundle", "padded_bundle", "sequence_bundle", "timed_bundle"]
