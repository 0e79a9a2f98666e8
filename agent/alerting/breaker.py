"""The circuit breaker: alerts are held back while too many lines of one sender are anomalous, and of no other."""

from dataclasses import dataclass, field
from fractions import Fraction

import msgspec

from agent.host.log import TAG
from agent.text.escape import escape
from agent.text.stored import DamagedBlob, decode_stored

_FINEST = 10**9  # the largest denominator of a share
_MOST = 2**63 - 1  # tokens, as many as MessagePack takes
_SENDERS = 64  # of a source, that have buckets of their own
_USUAL, _CERTAIN = 2, 16  # sampled lines by which a sender counts as usual, and up to which they are counted
_OWN_BURST = 10  # alerts at once about lines under our own name
_RESERVE = 10  # alerts while it is open, about what is worse than all before
_LONGEST = 600.0  # seconds that it stays open without being tried again
_TRIAL = 10  # part of its capacity that it has then
_SHOWN = 200  # bytes of a line that was held back
_OTHERS = ""


class _Bucket(msgspec.Struct, array_like=True):
    """tokens: parts of alerts that were saved up at `line` of the source. opened: when, in seconds since 1970, or None.
    held, worst, line_held: how many alerts were held back since then, the score and the text of the worst. reserve:
    how many may still pass meanwhile.
    """

    tokens: int
    line: int
    opened: float | None = None
    held: int = 0
    worst: float = 0.0
    line_held: str = ""
    reserve: int = _RESERVE


class _OldBucket(msgspec.Struct, array_like=True):
    """A bucket as earlier versions stored it, one a source. cost: left out where a line brings one token."""

    tokens: int
    open: bool
    held: int
    cost: int = 0


class _Source(msgspec.Struct):
    """line: lines so far. worst: the highest score. senders: in how many sampled lines each was. cost: of an alert."""

    cost: int
    line: int = 0
    worst: float = float("-inf")
    senders: dict[str, int] = {}
    buckets: dict[str, _Bucket] = {}


@dataclass(frozen=True)
class Candidate:
    """An alert that there may be. sender: the peer and the program of its line. now: seconds since 1970."""

    sender: str
    score: float
    text: str
    now: float


@dataclass
class BreakerEvents:
    """What there is to tell of breakers that opened, and of those that closed."""

    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)


class Breaker:
    """A circuit breaker on token buckets: of each source one for each usual sender, and one for all others.

    A bucket holds up to `burst` alerts, gains `share` of one with every line of the source and pays one for each alert.
    When it is empty the breaker opens, and alerts are held back and counted; when it is half full again the breaker
    closes, and after ten minutes it is tried again. Meanwhile a few alerts pass that are worse than all before. A
    sender is usual when it wrote lines that are normal, so that a flood under names that are made up mutes no other.
    In the long run a line causes less than `share` alerts: an echo of alerts that come back as lines dies out.
    It counts in whole numbers, so that the share is exact, however the lines are cut; to nine decimal places, that is.
    """

    def __init__(self, share: float, burst: int) -> None:
        exact = max(Fraction(repr(float(share))).limit_denominator(_FINEST), Fraction(1, _FINEST))
        self._gain, self._cost = exact.as_integer_ratio()  # tokens that a line brings, and that an alert takes
        self._cost_before = round(1 / exact)  # in what the first versions stored, in which a line brings one token
        self._burst = burst
        self._sources: dict[str, _Source] = {}
        self._events = BreakerEvents()
        self.held_back = 0

    def may_alert(self, source: str, candidate: Candidate) -> bool:
        """Whether an alert may leave now; takes its token."""
        known = self._source(source)
        name, is_worst = self._bucket_of(known, candidate.sender), candidate.score > known.worst
        known.worst = max(known.worst, candidate.score)
        bucket = known.buckets.setdefault(name, _Bucket(self._capacity(name), known.line))
        self._refill(source, known, name, candidate.now)
        if bucket.opened is None and bucket.tokens < self._cost:
            bucket.opened = candidate.now
            self._events.opened.append(
                f"{_whose(source, name)} are held back, since more than {self._share_of(source)} odd "
                "(max_alert_share, max_alert_burst); does the bundle fit this log?"
            )
        if bucket.opened is None:
            bucket.tokens -= self._cost
            return True
        if is_worst and bucket.reserve:
            bucket.reserve -= 1
            return True
        self._hold(bucket, candidate)
        return False

    def advance(self, source: str, lines: int, now: float) -> None:
        """Counts lines that were read; closes what is to be closed."""
        known = self._source(source)
        known.line += lines
        for name in [name for name, bucket in known.buckets.items() if bucket.opened is not None]:
            self._refill(source, known, name, now)

    def observe(self, source: str, sender: str) -> None:
        """Counts a normal line of a sender, one of a sample."""
        senders = self._source(source).senders
        if sender not in senders and len(senders) >= _SENDERS:
            rarest = min(senders, key=senders.__getitem__)
            del senders[rarest]
            self._close(source, self._source(source), rarest)
        senders[sender] = min(_CERTAIN, senders.get(sender, 0) + 1)

    def take_events(self) -> BreakerEvents:
        """What there is to say of breakers that opened or closed since the last call."""
        events, self._events = self._events, BreakerEvents()
        return events

    def blob(self, source: str) -> bytes:
        """What has to be kept of a source to go on after a restart."""
        known = self._source(source)
        for name, bucket in known.buckets.items():
            self._settle(known, name, bucket)
        known.buckets = {name: one for name, one in known.buckets.items() if not self._is_full(name, one)}
        line = known.line if known.buckets else 0  # so that nothing changes where nothing happens
        return msgspec.msgpack.encode(msgspec.structs.replace(known, line=line))

    def restore(self, source: str, blob: bytes) -> None:
        """Sets what `blob` gave, or that of an earlier version; a DamagedBlob where it is neither."""
        try:
            known = decode_stored(blob, _Source)
        except DamagedBlob:
            known = self._convert(decode_stored(blob, _OldBucket))
        if known.cost != self._cost:
            for bucket in known.buckets.values():
                bucket.tokens = bucket.tokens * self._cost // known.cost
            known.cost = self._cost
        for name, bucket in known.buckets.items():
            bucket.tokens = min(bucket.tokens, self._capacity(name))
        self._sources[source] = known

    def forget(self, source: str) -> None:
        """Forgets a source that is gone."""
        self._sources.pop(source, None)

    def _convert(self, old: _OldBucket) -> _Source:
        opened = 0.0 if old.open else None
        cost = old.cost or self._cost_before
        return _Source(cost, buckets={_OTHERS: _Bucket(old.tokens, 0, opened, old.held)})

    def _source(self, source: str) -> _Source:
        return self._sources.setdefault(source, _Source(self._cost, senders={}, buckets={}))

    def _bucket_of(self, known: _Source, sender: str) -> str:
        if sender.rpartition(" ")[2] == TAG:
            return TAG
        return sender if known.senders.get(sender, 0) >= _USUAL else _OTHERS

    def _capacity(self, name: str) -> int:
        burst = min(self._burst, _OWN_BURST) if name == TAG else self._burst
        return min(burst * self._cost, _MOST)

    def _refill(self, source: str, known: _Source, name: str, now: float) -> None:
        """Brings the tokens of a bucket up to date, and closes its breaker where there are enough or time is over."""
        bucket, capacity = known.buckets[name], self._capacity(name)
        self._settle(known, name, bucket)
        if bucket.opened is None:
            return
        if not 0 <= now - bucket.opened < _LONGEST:
            bucket.tokens = max(bucket.tokens, self._cost, capacity // _TRIAL)
        elif 2 * bucket.tokens < capacity:
            return
        self._close(source, known, name)
        known.buckets[name] = _Bucket(bucket.tokens, bucket.line)

    def _close(self, source: str, known: _Source, name: str) -> None:
        """Takes a bucket away, and tells what was held back where its breaker is open."""
        bucket = known.buckets.pop(name, None)
        if bucket is None or bucket.opened is None:
            return
        held = f"{bucket.held} were held back"
        worst = f"; the worst scored {bucket.worst:.4g}: {bucket.line_held}" if bucket.held else ""
        self._events.closed.append(f"{_whose(source, name)} leave again; {held}{worst}")

    def _hold(self, bucket: _Bucket, candidate: Candidate) -> None:
        if not bucket.held or candidate.score > bucket.worst:
            bucket.worst, bucket.line_held = candidate.score, escape(candidate.text, _SHOWN)
        bucket.held += 1
        self.held_back += 1

    def _settle(self, known: _Source, name: str, bucket: _Bucket) -> None:
        """Gives a bucket what the lines since it was looked at brought."""
        gained = (known.line - bucket.line) * self._gain
        bucket.tokens, bucket.line = min(self._capacity(name), bucket.tokens + gained), known.line

    def _is_full(self, name: str, bucket: _Bucket) -> bool:
        return bucket.opened is None and bucket.tokens >= self._capacity(name)

    def _share_of(self, source: str) -> str:
        if self._gain == 1:
            return f"1 line in {self._cost} of {source} is"
        return f"{100 * self._gain / self._cost:g}% of the lines of {source} are"


def sender_of(peer: str, program: str) -> str:
    """Who a line is of: the address that it came from, where it came over a network, and the program."""
    return escape(f"{peer} {program}".strip(), 192) or "(none)"


def _whose(source: str, name: str) -> str:
    return f"the alerts of {name} in {source}" if name else f"the alerts of {source}"
