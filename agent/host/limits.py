"""What this process may have of the host."""

import os
import resource
from contextlib import suppress

_WANTED = 65_536  # descriptors: a thousand logs, each with a rotated one, and connections


def raise_file_limit() -> None:
    """Lets the process open as many files as the hard limit allows, which is more than the usual 1,024."""
    with suppress(OSError, ValueError):  # a sandbox may refuse it; then what there is has to do
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def free_descriptors() -> int:
    """How many more files the process may open now; very many where nobody tells."""
    try:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = len(os.listdir("/proc/self/fd"))
    except OSError:
        return _WANTED
    return _WANTED if soft == resource.RLIM_INFINITY else soft - used
