"""How far a file is read, as the state keeps it."""

import msgspec

from agent.sources.files.checkpoint import FileCheckpoint


def test_a_checkpoint_is_stored_under_the_names_that_older_agents_read() -> None:
    before = {"device": 1, "inode": 2, "head": "4:aa", "offset": 4, "line": 2, "tail": "4:bb", "modified": 9}
    stored = msgspec.msgpack.encode({**before, "truncated": True})
    checkpoint = msgspec.msgpack.decode(stored, type=FileCheckpoint)
    assert (checkpoint.head_hash, checkpoint.tail_hash, checkpoint.truncated) == ("4:aa", "4:bb", True)
    assert msgspec.msgpack.encode(checkpoint) == stored
    assert checkpoint.before is None and not checkpoint.ended
