"""What the sinks share that write to standard output: its reader may end before the agent does."""

import _thread
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ending_with_reader() -> Iterator[None]:
    """Around a write to standard output: where its reader has left, as in `agent tail F | head`, the agent ends."""
    try:
        yield
    except BrokenPipeError:
        drop_output()
        _thread.interrupt_main(signal.SIGTERM)


def drop_output() -> None:
    """Points standard output to nowhere, so that what is still to be written to it harms nobody."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
