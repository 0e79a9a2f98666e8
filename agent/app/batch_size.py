"""How much of a source is read at once."""

_SECONDS = 0.5  # for which a block should be in hand
_LEAST, _FIRST, _MOST = 1 << 12, 1 << 14, 1 << 17  # bytes; larger blocks are not scored any faster


class BatchSize:
    """The bytes of which to make a block, so that it is scored in about half a second, whatever the model and the host.

    For as long as a block is in hand, signals, signs of life, other sources and the delivery of its alerts wait.
    """

    def __init__(self) -> None:
        self.limit = _FIRST

    def adapt(self, size: int, seconds: float) -> None:
        """Notes how long a block of so many bytes took."""
        if seconds > _SECONDS:
            self.limit = max(_LEAST, min(self.limit, int(size * _SECONDS / seconds)))
        elif seconds < _SECONDS / 2 and size > self.limit // 2:
            self.limit = min(_MOST, 2 * self.limit)
