"""Label files: one label a line beside the log, or a CSV of streams."""

import csv
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.errors import ConfigError
from training.data.logs import read_whole

_LABELS = {"0": 0, "1": 1, "-": -1, "2": -1}
_CHOICE = "use 0 (normal), 1 (anomalous), - or 2 (leave out)"


def read_labels(path: Path, streams: NDArray[np.int32], keys: list[bytes], stream: str | None) -> NDArray[np.int8]:
    """int8 [lines]: 0 normal, 1 anomalous, -1 leave out, for lines of the streams with these keys.

    The file holds one of 0, 1, - (or 2) a line, or is a CSV with a header whose first column is the stream key and
    second the label. It may be gzip. A ConfigError says what does not fit.
    """
    text = read_whole(path, "labels").decode("utf-8", "replace")
    rows = text.splitlines()
    if not rows:
        raise ConfigError(f"labels {path}: the file is empty; {_CHOICE}")
    if "," in rows[0]:
        labels = _stream_labels(path, text)
        return _spread(path, labels, keys, stream)[streams]
    if len(rows) != len(streams):
        raise ConfigError(f"labels {path}: {len(rows)} labels for {len(streams)} lines; one is needed for each line")
    return np.array([_label(path, number, row.strip()) for number, row in enumerate(rows, 1)], np.int8)


def _label(path: Path, number: int, text: str) -> int:
    label = _LABELS.get(text)
    if label is None:
        raise ConfigError(f"labels {path}: line {number} is {text[:40]!r}; {_CHOICE}")
    return label


def _stream_labels(path: Path, text: str) -> dict[bytes, int]:
    labels: dict[bytes, int] = {}
    reader = csv.reader(io.StringIO(text))
    try:
        next(reader)
        for row in reader:
            if not row:
                continue
            if len(row) < 2:
                raise ConfigError(f"labels {path}: line {reader.line_num} has no second column, the label")
            key, label = row[0].encode(), _label(path, reader.line_num, row[1].strip())
            if labels.setdefault(key, label) != label:
                raise ConfigError(f"labels {path}: line {reader.line_num} labels {row[0]!r} again, and differently")
    except csv.Error as error:
        raise ConfigError(f"labels {path}: line {reader.line_num} is no CSV: {error}") from None
    return labels


def _spread(path: Path, labels: dict[bytes, int], keys: list[bytes], stream: str | None) -> NDArray[np.int8]:
    """int8 [streams]: the label of each stream."""
    if stream is None:
        raise ConfigError(f"labels {path}: labels by stream need a stream pattern; give --stream, or one label a line")
    missing = [key for key in keys if key not in labels]
    if missing:
        name = missing[0].decode("utf-8", "backslashreplace") or "(lines in which the pattern does not occur)"
        raise ConfigError(f"labels {path}: {len(missing)} of {len(keys)} streams have no label, among them {name}")
    return np.array([labels[key] for key in keys], np.int8)
