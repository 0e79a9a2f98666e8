"""Waking up on what happens to the followed paths, and on nothing else."""

import ctypes
import errno
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from watchdog.observers import inotify_c

from agent.sources import watch
from agent.sources.file import FileSource
from agent.sources.watch import POLL, Watcher

LONG, SHORT = 30.0, 0.3  # seconds: an event must come within the one, none may come within the other

pytestmark = pytest.mark.usefixtures("no_thread_left")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def watching(said: list[str]) -> Iterator[Callable[..., Watcher]]:
    watchers: list[Watcher] = []

    def make(*paths: Path) -> Watcher:
        watchers.append(Watcher(paths, said.append))
        return watchers[-1]

    yield make
    for watcher in watchers:
        watcher.stop()


def append(path: Path, data: bytes = b"line\n") -> None:
    with path.open("ab") as file:
        file.write(data)


def quiet(watcher: Watcher) -> bool:
    """Whether, after what is still under way, nothing wakes."""
    while watcher.wait(SHORT):
        pass
    return not watcher.wait(SHORT)


def test_every_change_wakes(tmp_path: Path, watching: Callable[..., Watcher], said: list[str]) -> None:
    log = tmp_path / "app.log"
    watcher = watching(log)
    changes: list[Callable[[], object]] = [
        log.touch,
        lambda: append(log),
        lambda: os.truncate(log, 0),
        lambda: log.rename(tmp_path / "app.log.1"),
        lambda: (tmp_path / "app.log.1").rename(log),
        log.unlink,
    ]
    for change in changes:
        change()
        assert watcher.wait(LONG)
        assert quiet(watcher)
    assert not watcher.polling
    assert said == []


def test_other_files_do_not_wake(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    watcher = watching(tmp_path / "app.log")
    append(tmp_path / "other.log")
    assert not watcher.wait(SHORT)


def test_our_own_reading_does_not_wake(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    log = tmp_path / "app.log"
    append(log)
    watcher = watching(log)
    source = FileSource(log, None, "start", print)
    assert len(source.read()) == 1
    source.close()
    assert log.read_bytes() == b"line\n"
    assert not watcher.wait(SHORT)


def test_a_directory_that_does_not_exist_yet(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    log = tmp_path / "new" / "deeper" / "app.log"
    watcher = watching(log)
    log.parent.mkdir(parents=True)
    assert watcher.wait(LONG)
    assert quiet(watcher)
    append(log)
    assert watcher.wait(LONG)


def test_a_directory_that_was_replaced(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    log = tmp_path / "logs" / "app.log"
    log.parent.mkdir()
    watcher = watching(log)
    log.parent.rename(tmp_path / "logs.old")
    log.parent.mkdir()
    watcher.wait(SHORT)
    assert quiet(watcher)
    append(log)
    assert watcher.wait(LONG)


def test_a_removed_and_recreated_directory(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    log = tmp_path / "logs" / "app.log"
    log.parent.mkdir()
    watcher = watching(log)
    log.parent.rmdir()
    assert watcher.wait(LONG)
    log.parent.mkdir()
    assert watcher.wait(LONG)
    assert quiet(watcher)
    append(log)
    assert watcher.wait(LONG)


def test_the_target_of_a_link_is_watched(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    for name in ("links", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "folder").symlink_to(tmp_path / "links")
    link, target, later = tmp_path / "folder" / "app.log", tmp_path / "data" / "a.log", tmp_path / "data" / "b.log"
    link.symlink_to(target)
    watcher = watching(link)
    append(target)
    assert watcher.wait(LONG)
    assert quiet(watcher)
    link.unlink()
    link.symlink_to(later)
    assert watcher.wait(LONG)
    assert quiet(watcher)
    append(later)
    assert watcher.wait(LONG)


def test_wake_from_a_thread_and_from_a_signal_handler(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    watcher = watching(tmp_path / "app.log")
    threading.Timer(0.05, watcher.wake).start()
    assert watcher.wait(LONG)
    previous = signal.signal(signal.SIGALRM, lambda *_: watcher.wake())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert watcher.wait(LONG)
    finally:
        signal.signal(signal.SIGALRM, previous)
    watcher.wake()
    watcher.wake()
    assert watcher.wait(LONG)
    assert not watcher.wait(0.0)


def test_no_inotify_instance_left(
    tmp_path: Path, watching: Callable[..., Watcher], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    monkeypatch.setattr(watch, "Observer", refuse)
    watcher = watching(tmp_path / "app.log")
    assert watcher.polling
    assert watcher.wait(1e6), "polling looks again soon"
    (sentence,) = said
    assert "(inotify instance limit reached)" in sentence
    assert f"every {POLL} s" in sentence


def test_no_inotify_watch_left_until_there_is_one_again(
    tmp_path: Path, watching: Callable[..., Watcher], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        ctypes.set_errno(errno.ENOSPC)
        return -1

    with monkeypatch.context() as patch:
        patch.setattr(inotify_c, "inotify_add_watch", refuse)
        watcher = watching(tmp_path / "app.log")
        assert watcher.wait(LONG)
        assert watcher.wait(LONG)
        assert watcher.polling
    assert watcher.wait(LONG)
    assert not watcher.polling
    append(tmp_path / "app.log")
    assert watcher.wait(LONG)
    (sentence,) = said
    assert f"{tmp_path} cannot be watched (inotify watch limit reached)" in sentence


def test_a_directory_that_may_not_be_listed(watching: Callable[..., Watcher], said: list[str]) -> None:
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o311)
        os.seteuid(user or 65534)
        try:
            assert watching(Path(name, "app.log")).polling
        finally:
            os.seteuid(user)
            os.chmod(name, 0o700)
    assert f"{name} cannot be watched (no permission)" in said[0]


def test_stopping_twice(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    watcher = watching(tmp_path / "app.log")
    watcher.stop()
    watcher.stop()
    assert not watcher.wait(0.0)
