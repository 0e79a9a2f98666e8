"""The clock by which the kernel dates files, which is up to 10 ms behind the one that tells the time."""

import time

_COARSE = 5  # CLOCK_REALTIME_COARSE, clock_gettime(2); Python has no name for it


def before_now() -> int:
    """A time, in nanoseconds since 1970, after which any file is dated that is written from now on."""
    return time.clock_gettime_ns(_COARSE) - 1
