"""Names of sinks without their secrets, for logs, metrics and errors."""

import hashlib
import re

_WEB = re.compile(r"(https?://)([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)


def shown(name: str) -> str:
    """The name of a sink without what may be a secret: the path of a URL often is the right to post to it.

    Of http and https the scheme, the host and the port stay; 8 hexadecimal digits of a SHA-256 keep two sinks apart.
    """
    match = _WEB.fullmatch(name)
    if match is None or (match[3] in ("", "/") and "@" not in match[2]):
        return name
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
    return f"{match[1]}{match[2].rpartition('@')[2]}/...{digest[:8]}"
