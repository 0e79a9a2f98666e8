"""The limits of this process: how many files it may open."""

import os
import resource
from contextlib import suppress

_LIMIT = 65_536  # descriptors: a thousand logs, each with a rotated one, and connections


def raise_file_limit() -> None:
    """Lets the process open as many files as the hard limit allows, which is more than the usual 1,024."""
    with suppress(OSError, ValueError):  # a sandbox may refuse it; then what there is has to do
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit = _LIMIT if hard == resource.RLIM_INFINITY else min(hard, _LIMIT)
        if soft != resource.RLIM_INFINITY and soft < limit:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def free_descriptors() -> int:
    """How many more files the process may open now; very many where nobody tells."""
    try:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = len(os.listdir("/proc/self/fd"))
    except OSError:
        return _LIMIT
    return _LIMIT if soft == resource.RLIM_INFINITY else soft - used
