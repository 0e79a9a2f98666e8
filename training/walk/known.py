"""The texts that a walk has learnt, in a bounded number, and how often each occurred."""

from dataclasses import replace

import numpy as np

from training.data.corpus import Corpus


class KnownTexts:
    """At most `most` texts with their counts: the most frequent ones, of those as frequent the newer ones."""

    def __init__(self, counts: dict[str, int] | None = None, most: int = 65536) -> None:
        self.counts, self.most = counts or {}, most

    def add(self, corpus: Corpus) -> None:
        """Counts the texts of lines."""
        ids, counts = np.unique(corpus.ids, return_counts=True)
        for text_id, count in zip(ids.tolist(), counts.tolist(), strict=True):
            text = corpus.texts[text_id]
            self.counts[text] = self.counts.get(text, 0) + count
        if len(self.counts) > self.most:
            order = sorted(reversed(self.counts), key=self.counts.__getitem__, reverse=True)  # noqa: C414 (of two as frequent the newer)
            kept = set(order[: self.most])
            self.counts = {text: count for text, count in self.counts.items() if text in kept}

    def with_lines(self, corpus: Corpus) -> tuple[Corpus, list[int]]:
        """The corpus with the known texts before its own, each once, and how often each occurs, its lines counted."""
        numbers = {text: number for number, text in enumerate(self.counts, 1)}
        moved = [0, *(numbers.setdefault(text, len(numbers) + 1) for text in corpus.texts[1:])]
        texts, ids = ["", *numbers], np.array(moved, np.int32)[corpus.ids]
        counts = np.bincount(ids, minlength=len(texts))
        counts[1 : len(self.counts) + 1] += np.array(list(self.counts.values()), np.int64)
        return replace(corpus, texts=texts, ids=ids), counts.tolist()
