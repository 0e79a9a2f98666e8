"""The first and last bytes that were read of a file, by which a checkpoint in it is known again."""

from agent.sources.files.checkpoint import HEAD, TAIL


class ReadTrace:
    """What was read of a file, as far as checkpoints keep hashes of it.

    head    its first bytes, at most 1024
    tail    the bytes before the offset up to which it was read, at most 256
    before  those before the first incomplete line or record, from which reading goes on after a restart
    """

    def __init__(self, head: bytes, before: bytes) -> None:
        self.head = head
        self.before = self._before_line = self.tail = before

    def feed(self, chunk: bytes, at: int, old_line: int, line: int, record: int | None) -> None:
        """Notes a chunk that was read at an offset.

        old_line, line: the offsets of the first incomplete line before it and now. record: that of the first incomplete
        record, where the chunk completed one.
        """
        self.head += chunk[: max(0, HEAD - len(self.head))]
        if record is not None:
            self.before = self._before_line if record == old_line else self._until(chunk, record - at)
        if line >= at:
            self._before_line = self._until(chunk, line - at)
        self.tail = (self.tail + chunk[-TAIL:])[-TAIL:]

    def _until(self, chunk: bytes, stop: int) -> bytes:
        """The last bytes before a place in a chunk that follows what was read."""
        return (self.tail + chunk[max(0, stop - TAIL) : stop])[-TAIL:]

    def flush(self) -> None:
        """Notes that the incomplete record was handed out."""
        self.before = self._before_line

    def finish(self) -> None:
        """Notes that all that is incomplete was handed out."""
        self.before = self._before_line = self.tail
