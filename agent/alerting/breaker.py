"""The circuit breaker: alerts are held back while too many lines of a source are anomalous."""

from dataclasses import dataclass
from fractions import Fraction

import msgspec

_FINEST = 10**9  # the largest denominator of a share
_MOST = 2**63 - 1  # tokens, as many as MessagePack takes


@dataclass
class _Bucket:
    """tokens: parts of alerts that are saved up. open: whether alerts are held back. held: how many, since then."""

    tokens: int
    open: bool = False
    held: int = 0


class _StoredBucket(msgspec.Struct, array_like=True):
    """A bucket as it is stored. cost: the tokens of an alert, left out where a line brings one token."""

    tokens: int
    open: bool
    held: int
    cost: int = 0


class Breaker:
    """A circuit breaker on a token bucket for each source.

    A bucket holds up to `burst` alerts, gains `share` of one with every line and pays one for each alert. When it is
    empty the breaker opens and alerts are held back and counted; when it is half full again the breaker closes. It goes
    by the lines of the source and not by the clock, so that neither a restart nor the speed of the host changes which
    alerts there are. In the long run a line causes less than `share` alerts: an echo of alerts that come back as lines
    dies out.
    It counts in whole numbers, so that the share is exact, however the lines are cut; to nine decimal places, that is.
    """

    def __init__(self, share: float, burst: int) -> None:
        exact = max(Fraction(repr(float(share))).limit_denominator(_FINEST), Fraction(1, _FINEST))
        self._gain, self._cost = exact.as_integer_ratio()  # tokens that a line brings, and that an alert takes
        self._cost_before = round(1 / exact)  # in what earlier versions stored, in which a line brings one token
        self._capacity = min(burst * self._cost, _MOST)
        self._buckets: dict[str, _Bucket] = {}
        self._warnings: list[str] = []
        self.held_back = 0

    def may_alert(self, source: str) -> bool:
        """Whether an alert may leave now; takes its token."""
        bucket = self._bucket(source)
        if not bucket.open and bucket.tokens < self._cost:
            bucket.open, bucket.held = True, 0
            self._warnings.append(
                f"more than {self._share_of(source)} odd: its alerts are held back and counted until "
                "fewer are (max_alert_share, max_alert_burst); does the bundle fit this log?"
            )
        if bucket.open:
            bucket.held += 1
            self.held_back += 1
            return False
        bucket.tokens -= self._cost
        return True

    def advance(self, source: str, lines: int) -> None:
        """Counts lines that were read."""
        bucket = self._bucket(source)
        bucket.tokens = min(self._capacity, bucket.tokens + lines * self._gain)
        if bucket.open and 2 * bucket.tokens >= self._capacity:
            bucket.open = False
            self._warnings.append(f"fewer lines of {source} are odd again; {bucket.held} alerts were held back")

    def take_warnings(self) -> list[str]:
        """What there is to say of breakers that opened or closed since the last call."""
        warnings, self._warnings = self._warnings, []
        return warnings

    def blob(self, source: str) -> bytes:
        """What has to be kept of a source to go on after a restart."""
        bucket = self._bucket(source)
        cost = () if self._gain == 1 else (self._cost,)
        return msgspec.msgpack.encode((bucket.tokens, bucket.open, bucket.held, *cost))

    def restore(self, source: str, blob: bytes) -> None:
        """Sets what `blob` gave, or that of an earlier version."""
        known = msgspec.msgpack.decode(blob, type=_StoredBucket)
        tokens = known.tokens * self._cost // (known.cost or self._cost_before)
        self._buckets[source] = _Bucket(min(tokens, self._capacity), known.open, known.held)

    def forget(self, source: str) -> None:
        """Forgets a source that is gone."""
        self._buckets.pop(source, None)

    def _share_of(self, source: str) -> str:
        if self._gain == 1:
            return f"1 line in {self._cost} of {source} is"
        return f"{100 * self._gain / self._cost:g}% of the lines of {source} are"

    def _bucket(self, source: str) -> _Bucket:
        return self._buckets.setdefault(source, _Bucket(self._capacity))
