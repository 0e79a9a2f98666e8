"""The state as the loop uses it: what is refused for the time being, as on a full disk, is tried again."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol, TypeVar

from agent.state.store import State

_Result = TypeVar("_Result")


class Retry(Protocol):
    """Repeats an action that a StateUnavailable refuses at present, until it succeeds or the run ends."""

    def __call__(self, action: Callable[[], _Result]) -> _Result:
        """What the action gives; a StateUnavailable where nothing more is waited for."""
        ...


class RetryingState:
    """What the loop of the agent wants of a State, by the same names; `retry` repeats what is refused at present."""

    def __init__(self, state: State, retry: Retry) -> None:
        self._state, self._retry = state, retry

    def checkpoint(self, source: str) -> bytes | None:
        return self._retry(lambda: self._state.checkpoint(source))

    def checkpoints(self) -> dict[str, bytes]:
        return self._retry(self._state.checkpoints)

    def streams(self, source: str) -> Iterator[tuple[bytes, bytes]]:
        last = 0
        while rows := self._retry(partial(self._state.next_streams, source, last)):
            last = rows[-1][0]
            for _, key, blob in rows:
                yield key, blob

    def blob(self, name: str) -> bytes | None:
        return self._retry(lambda: self._state.blob(name))

    def backlog(self, sink: str) -> int:
        return self._retry(lambda: self._state.backlog(sink))

    def lost(self, sink: str) -> dict[str, int]:
        return self._retry(lambda: self._state.lost(sink))

    def delivered_count(self, sink: str) -> int:
        return self._retry(lambda: self._state.delivered_count(sink))

    def commit(self, *change: Any, **more: Any) -> None:
        self._retry(lambda: self._state.commit(*change, **more))

    def forget(self, *change: Any) -> None:
        self._retry(lambda: self._state.forget(*change))
