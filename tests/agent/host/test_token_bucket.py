"""A bucket of tokens: bursts, and a rate in the long run."""

from agent.host.token_bucket import TokenBucket


def test_token_bucket():
    now = [0.0]
    bucket = TokenBucket(rate=2, burst=3, clock=lambda: now[0])
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    now[0] += 1.0
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    now[0] += 1000.0
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
