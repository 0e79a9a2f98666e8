"""Waking up on what happens to the followed paths, and on nothing else."""

import ctypes
import errno
import os
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.processes import require_program
from watchdog.observers import inotify_c

from agent.sources.files.follower import FileSource
from agent.watching import inotify, mounts
from agent.watching.coverage import POLL, RETRY
from agent.watching.mounts import Mount, Mounts, parse_mounts
from agent.watching.watcher import Watcher, Woken

LONG, SHORT = 30.0, 0.2  # seconds: an event must come within the one, none may come within the other

pytestmark = pytest.mark.usefixtures("no_thread_left")


class Clock:
    """A clock that is moved by hand, on top of the true one."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        import time

        return time.monotonic() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watching(clock: Clock) -> Iterator[Callable[..., Watcher]]:
    """Makes watchers that have told already of what was new to them."""
    watchers: list[Watcher] = []

    def make(*paths: Path, **more: object) -> Watcher:
        watcher = Watcher(clock)
        watchers.append(watcher)
        watcher.watch(paths, **more)
        woken = watcher.wait(0.0) or Woken()
        assert woken.paths == set(paths)
        return watcher

    yield make
    for watcher in watchers:
        watcher.stop()


def append(path: Path, data: bytes = b"line\n") -> None:
    with path.open("ab") as file:
        file.write(data)


def until_quiet(watcher: Watcher) -> Woken | None:
    """Takes what is still under way, so that only what happens from now on wakes; what the last of it was."""
    last = None
    while woken := watcher.wait(SHORT):
        last = woken
    return last


def wakes(watcher: Watcher, path: Path) -> bool:
    """Whether an event of the path, and of no other, comes."""
    woken = watcher.wait(LONG)
    return woken is not None and woken.paths == {path}


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
        assert watcher.wait(LONG) == Woken(frozenset({log}))
        until_quiet(watcher)
    assert not watcher.polling
    assert said == []


def test_what_is_new_among_the_watched_is_told_once_and_what_is_gone_no_more(
    tmp_path: Path, watching: Callable[..., Watcher]
) -> None:
    first, second = tmp_path / "a.log", tmp_path / "b.log"
    watcher = watching(first)
    watcher.watch([first, second])
    watcher.watch([second, first])
    assert watcher.wait(0.0) == Woken(frozenset({second}))
    watcher.watch([second])
    append(first)
    assert watcher.wait(SHORT) is None
    watcher.watch([])
    append(second)
    assert watcher.wait(SHORT) is None


def test_other_files_do_not_wake(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    watcher = watching(tmp_path / "app.log")
    append(tmp_path / "other.log")
    assert watcher.wait(SHORT) is None
    append(tmp_path / "other.log")
    append(tmp_path / "app.log")
    assert wakes(watcher, tmp_path / "app.log"), "after a nap"


def test_our_own_reading_does_not_wake(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    log = tmp_path / "app.log"
    append(log)
    watcher = watching(log)
    source = FileSource(log, None, "start")
    assert len(source.read()) == 1
    source.close()
    assert log.read_bytes() == b"line\n"
    assert watcher.wait(SHORT) is None


def test_a_thousand_paths_in_one_directory_and_in_many(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    together = [tmp_path / f"{number}.log" for number in range(1000)]
    apart = [tmp_path / str(number) / "app.log" for number in range(1000)]
    for path in apart:
        path.parent.mkdir()
    watcher = watching(*together, *apart)
    assert not watcher.polling
    changed = {together[0], together[999], apart[0], apart[500]}
    for path in changed:
        append(path)
    seen: set[Path] = set()
    while seen < changed:
        seen |= watcher.wait(LONG).paths
    assert seen == changed


def test_files_that_come_and_go_in_folders(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    folder, later = tmp_path / "logs", tmp_path / "later" / "logs"
    folder.mkdir()
    watcher = watching(folders=[folder, later])
    append(folder / "a.log")
    assert watcher.wait(LONG) == Woken(folders=True)
    until_quiet(watcher)
    append(folder / "a.log")
    assert watcher.wait(SHORT) is None, "its content is not the folder's"
    for change in (lambda: (folder / "a.log").rename(tmp_path / "a.log"), lambda: later.mkdir(parents=True)):
        change()
        assert watcher.wait(LONG) == Woken(folders=True)
        until_quiet(watcher)
    append(later / "b.log")
    assert watcher.wait(LONG) == Woken(folders=True)


def test_a_directory_that_does_not_exist_yet(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    log = tmp_path / "new" / "deeper" / "app.log"
    watcher = watching(log)
    log.parent.mkdir(parents=True)
    assert wakes(watcher, log)
    until_quiet(watcher)
    append(log)
    assert wakes(watcher, log)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_directory_that_was_replaced(tmp_path: Path, watching: Callable[..., Watcher], levels: int) -> None:
    log = tmp_path / "a" / "b" / "c" / "app.log"
    log.parent.mkdir(parents=True)
    watcher = watching(log)
    replaced = log.parents[levels - 1]
    replaced.rename(tmp_path / "old")
    log.parent.mkdir(parents=True)
    assert wakes(watcher, log)
    until_quiet(watcher)
    append(log)
    assert wakes(watcher, log)
    until_quiet(watcher)
    append(next((tmp_path / "old").rglob("c"), tmp_path / "old") / "app.log")
    assert watcher.wait(SHORT) is None, "the old one is watched no more"


def test_a_removed_and_recreated_directory(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    log = tmp_path / "logs" / "app.log"
    log.parent.mkdir()
    watcher = watching(log)
    for change in (log.parent.rmdir, log.parent.mkdir, lambda: append(log)):
        change()
        assert wakes(watcher, log)
        until_quiet(watcher)


def test_every_link_on_the_way_is_watched(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    for name in ("links", "more", "data", "other"):
        (tmp_path / name).mkdir()
    folder, link = tmp_path / "folder", tmp_path / "folder" / "app.log"
    folder.symlink_to("links")
    link.symlink_to("../more/app.log")
    (tmp_path / "more" / "app.log").symlink_to(tmp_path / "data" / "a.log")

    def point(at: Path, to: Path) -> None:
        at.with_name("new").symlink_to(to)
        at.with_name("new").rename(at)

    watcher = watching(link)
    changes: list[Callable[[], object]] = [
        lambda: append(tmp_path / "data" / "a.log"),
        lambda: point(tmp_path / "more" / "app.log", tmp_path / "data" / "b.log"),
        lambda: append(tmp_path / "data" / "b.log"),
        lambda: point(folder, tmp_path / "other"),
        lambda: append(tmp_path / "other" / "app.log"),
        lambda: point(folder, tmp_path / "nowhere"),
        (tmp_path / "nowhere").mkdir,
        lambda: append(link),
    ]
    for number, change in enumerate(changes):
        change()
        assert wakes(watcher, link), number
        until_quiet(watcher)
    append(tmp_path / "data" / "b.log")
    assert watcher.wait(SHORT) is None


def test_a_link_to_what_was_only_on_its_way_before(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    link = tmp_path / "app.log"
    link.symlink_to("logs/app.log")
    watcher = watching(link)
    link.unlink()
    link.symlink_to("logs")
    until_quiet(watcher)
    append(tmp_path / "logs")
    assert wakes(watcher, link)


def test_links_in_a_circle(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    log = tmp_path / "app.log"
    log.symlink_to(tmp_path / "round.log")
    (tmp_path / "round.log").symlink_to(log)
    watcher = watching(log)
    (tmp_path / "round.log").unlink()
    assert wakes(watcher, log)


def test_wake_from_a_thread_and_from_a_signal_handler(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    watcher = watching(tmp_path / "app.log")
    thread = threading.Timer(0.05, watcher.wake)
    thread.start()
    assert watcher.wait(LONG) == Woken(requested=True)
    thread.join()
    previous = signal.signal(signal.SIGALRM, lambda *_: watcher.wake())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert watcher.wait(LONG) == Woken(requested=True)
    finally:
        signal.signal(signal.SIGALRM, previous)
    watcher.wake()
    watcher.wake()
    assert watcher.wait(LONG) == Woken(requested=True), "not lost before the wait"
    assert watcher.wait(0.0) is None


def test_descriptors_that_can_be_read(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    left, right = socket.socketpair()
    with left, right:
        watcher = watching(descriptors=[left.fileno()])
        assert watcher.wait(SHORT) is None
        right.send(b"x")
        assert watcher.wait(LONG) == Woken(descriptors=frozenset({left.fileno()}))
        left.recv(1)
        assert watcher.wait(SHORT) is None
        right.close()
        assert watcher.wait(LONG).descriptors == {left.fileno()}
        watcher.watch([])
        assert watcher.wait(SHORT) is None
    with (tmp_path / "file").open("w") as file:
        watcher.watch([], descriptors=[file.fileno()])
        assert watcher.wait(LONG).descriptors == {file.fileno()}, "a file is always ready"
    assert watcher.wait(LONG).descriptors, "a closed one is told rather than forgotten"


def test_a_descriptor_that_was_closed_and_given_out_again(watching: Callable[..., Watcher]) -> None:
    first, writer = os.pipe()
    watcher = watching(descriptors=[first])
    assert watcher.wait(0.0) is None
    os.close(first)
    os.close(writer)
    again, writer = os.pipe()
    assert again == first
    watcher.watch([], descriptors=[again])
    os.write(writer, b"x")
    assert watcher.wait(LONG).descriptors == {again}
    os.close(again)
    os.close(writer)


def test_an_overflowing_queue_loses_nothing(tmp_path: Path, watching: Callable[..., Watcher], said: list[str]) -> None:
    logs = [tmp_path / name for name in ("a.log", "b.log", "c.log")]
    folder = tmp_path / "logs"
    folder.mkdir()
    for log in logs:
        log.touch()
    watcher = watching(*logs, folders=[folder])
    until_quiet(watcher)
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    with logs[0].open("ab", 0) as first, logs[1].open("ab", 0) as second:
        for _ in range(most // 2 + 100):  # in turn, since two like events in a row count as one
            first.write(b"x\n")
            second.write(b"x\n")
    append(logs[2])
    append(folder / "new.log")
    woken = watcher.wait(LONG)
    assert woken.paths == set(logs), "whose event was lost is among them"
    assert woken.folders
    until_quiet(watcher)
    append(logs[2])
    assert wakes(watcher, logs[2])
    assert said == []


def refuse_watches(*_: object) -> int:
    ctypes.set_errno(errno.ENOSPC)
    return -1


def refuse_instances() -> int:
    ctypes.set_errno(errno.EMFILE)
    return -1


@pytest.mark.parametrize(
    ("call", "refuse", "reason"),
    [
        ("inotify_init", refuse_instances, "raise fs.inotify.max_user_instances or ulimit -n"),
        ("inotify_add_watch", refuse_watches, "raise fs.inotify.max_user_watches"),
    ],
)
def test_limits_of_inotify_lead_to_polling_until_it_works(
    tmp_path: Path,
    watching: Callable[..., Watcher],
    said: list[str],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    refuse: Callable[..., int],
    reason: str,
) -> None:
    logs = [tmp_path / str(number) / "app.log" for number in range(3)]
    for log in logs:
        log.parent.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(inotify_c, call, refuse)
        watcher = watching(*logs)
        for _ in range(2):
            assert watcher.wait(1e6).paths == set(logs), "polling looks again soon"
        clock.ahead += RETRY
        assert watcher.wait(LONG)
        assert watcher.polling
        (sentence,) = said
    assert sentence.startswith(f"{tmp_path}/0 and 2 more cannot be watched (")
    assert reason in sentence and f"every {POLL} s" in sentence
    clock.ahead += RETRY
    assert watcher.wait(LONG).paths == set(logs), "what came before the watch is not lost"
    assert not watcher.polling
    assert said[1:] == [f"{tmp_path}/0 and 2 more: watched by events again"]
    append(logs[1])
    assert wakes(watcher, logs[1])


_AT_THE_LIMIT = """
import logging, os, sys
from pathlib import Path
from agent.watching.watcher import Watcher
Path("/proc/sys/user/max_inotify_{kind}").write_text("{most}")
logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
watcher = Watcher()
watcher.watch([Path(sys.argv[1], str(number), "app.log") for number in range(9)])
assert watcher.polling
watcher.wait(0.0)
for number in range(9):
    Path(sys.argv[1], str(number), "app.log").write_text("x")
seen = set()
while len(seen) < 9:
    seen |= watcher.wait(30.0).paths
watcher.stop()
"""


@pytest.mark.parametrize(("kind", "most"), [("watches", 6), ("instances", 0)])
def test_the_real_limits(tmp_path: Path, kind: str, most: int) -> None:
    unshare = require_program("unshare")
    for number in range(9):
        (tmp_path / str(number)).mkdir()
    program = _AT_THE_LIMIT.format(kind=kind, most=most)
    command = [unshare, "-Ur", os.sys.executable, "-c", program, tmp_path]
    environment = os.environ | {"PYTHONPATH": str(Path(inotify.__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    if "unshare failed" in done.stderr or "Operation not permitted" in done.stderr:
        pytest.skip("this system lets nobody make a user namespace")
    assert done.returncode == 0, done.stderr
    (sentence,) = done.stdout.splitlines()
    assert f"fs.inotify.max_user_{kind}" in sentence


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
    assert f"{name} cannot be watched (no permission to list it)" in said[0]


MOUNTS = rb"""21 25 0:20 / /proc rw - proc proc rw
25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 25 0:50 / /srv/web\040logs rw shared:7 master:2 - nfs4 nas:/export\040a rw,vers=4.2
31 30 0:51 / /srv/web\040logs/local rw - xfs /dev/sdb1 rw
32 25 0:52 / /back\134slash rw - fuse.sshfs me@there:/ rw
33 25 0:53 / /mnt/usb rw - fuseblk /dev/sdc1 rw
34 25 0:54 / /over rw - nfs nas:/b rw
35 25 0:55 / /over rw - tmpfs tmpfs rw
not a line of this table
"""


def test_the_longest_mount_point_holds_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mountinfo").write_bytes(MOUNTS)
    monkeypatch.setattr(mounts, "_TABLE", tmp_path / "mountinfo")
    table = Mounts()
    for path, type_, remote in (
        ("/srv/web logs/a", "nfs4", True),
        ("/srv/web logs", "nfs4", True),
        ("/srv/web logs/local/deep/er", "xfs", False),
        ("/srv/web logsnot", "ext4", False),
        ("/back\\slash/x", "fuse.sshfs", True),
        ("/mnt/usb/x", "fuseblk", False),
        ("/over/x", "tmpfs", False),
        ("/", "ext4", False),
    ):
        assert (table.of(path).type, table.of(path).remote) == (type_, remote), path
    assert table.is_point("/over") and not table.is_point("/over/x")
    table.close()
    table.close()


def test_the_mounts_of_this_process_are_understood() -> None:
    listed = {os.fsencode(mount.point) for mount in parse_mounts(Path("/proc/self/mountinfo").read_bytes())}
    plain = {line.split()[1] for line in Path("/proc/mounts").read_bytes().splitlines() if b"\\" not in line}
    assert plain <= listed
    assert Mount("/x", "nfs").remote and not Mount("/x", "ext4").remote


def test_a_network_file_system_is_polled_and_the_others_are_not(
    tmp_path: Path, watching: Callable[..., Watcher], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "far").mkdir()
    table = tmp_path / "mountinfo"
    table.write_text(f"1 0 8:1 / / rw - ext4 x rw\n2 1 0:9 / {tmp_path}/far rw - nfs4 nas:/x rw\n")
    monkeypatch.setattr(mounts, "_TABLE", table)
    near, far = tmp_path / "near.log", tmp_path / "far" / "app.log"
    near.symlink_to("near.data")
    watcher = watching(near, far)
    assert watcher.polling
    assert [watcher.wait(LONG) for _ in range(2)] == [Woken(frozenset({far}))] * 2
    append(near)
    seen: set[Path] = set()
    while near not in seen:
        seen |= watcher.wait(LONG).paths
    assert said == [
        f"{tmp_path}/far (nfs4) may be written by others without an event; looking for new lines every {POLL} s instead"
    ]
    near.unlink()
    near.symlink_to(far)
    watcher.watch([near])
    while watcher.wait(LONG).paths != {near}:
        pass
    assert watcher.polling, "a link to it is polled as well"


@pytest.fixture
def bind() -> Iterator[Callable[[Path, Path], None]]:
    """Mounts a file or directory at another place."""
    mount, points = require_program("mount"), []

    def bind(what: Path, where: Path) -> None:
        if subprocess.run([mount, "--bind", what, where], capture_output=True).returncode:
            pytest.skip("nothing may be mounted here")
        points.append(where)

    yield bind
    for point in reversed(points):
        subprocess.run(["umount", "-l", point], check=True)


def test_a_file_that_is_mounted_by_itself(
    tmp_path: Path, watching: Callable[..., Watcher], bind: Callable[[Path, Path], None]
) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "inside").mkdir()
    outer, inner = tmp_path / "host" / "app.log", tmp_path / "inside" / "app.log"
    for log in (outer, inner):
        log.touch()
    bind(outer, inner)
    watcher = watching(inner)
    append(outer)
    assert wakes(watcher, inner)


def test_a_directory_at_two_places(
    tmp_path: Path, watching: Callable[..., Watcher], bind: Callable[[Path, Path], None]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    watcher = watching(second / "app.log")
    bind(first, second)
    assert wakes(watcher, second / "app.log"), "a mount is noticed"
    until_quiet(watcher)
    watcher.watch([first / "app.log", second / "app.log"], folders=[first])
    until_quiet(watcher)
    append(first / "app.log")
    woken = watcher.wait(LONG)
    assert woken.paths == {first / "app.log", second / "app.log"}
    assert woken.folders
    until_quiet(watcher)
    watcher.watch([second / "app.log"])
    append(first / "app.log")
    assert wakes(watcher, second / "app.log"), "the one place still has the watch"


def write_unseen(path: Path, data: bytes = b"line\n") -> None:
    """Changes a file as another host would: without an event."""
    with tempfile.NamedTemporaryFile(dir=path.parent.parent / "elsewhere") as name:
        os.unlink(name.name)
        os.link(path, name.name)
        append(Path(name.name), data)


@pytest.fixture
def unseen(tmp_path: Path) -> Path:
    """A log that can be changed without events."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "app.log"
    append(log)
    return log


def test_events_that_never_come_lead_to_polling_for_a_minute(
    unseen: Path, watching: Callable[..., Watcher], said: list[str], clock: Clock
) -> None:
    other = unseen.with_name("other.log")
    watcher = watching(unseen, other)
    for round_ in range(3):
        for _ in range(2):
            write_unseen(unseen)
            assert watcher.wait(0.0) is None
            watcher.missed(unseen)
        assert watcher.wait(SHORT) is None and not watcher.polling, "the event may be under way"
        clock.ahead += 1.0
        assert watcher.wait(LONG).paths == {unseen, other}, "both are on one mount"
        assert watcher.polling
        assert len(said) == 1 + (round_ == 2), "said once an hour"
        assert said[-1].startswith(f"{unseen} changes without events (")
        clock.ahead += RETRY
        until_quiet(watcher)
        assert not watcher.polling
        clock.ahead += 1800.0


def test_an_event_that_comes_late_is_no_proof(
    unseen: Path, watching: Callable[..., Watcher], said: list[str], clock: Clock
) -> None:
    watcher = watching(unseen)
    for _ in range(2):
        write_unseen(unseen)
        watcher.missed(unseen)
    append(unseen)
    clock.ahead += 2.0
    assert wakes(watcher, unseen)
    until_quiet(watcher)
    write_unseen(unseen)
    watcher.missed(unseen)
    clock.ahead += 2.0
    assert watcher.wait(SHORT) is None
    assert not watcher.polling and said == []


def test_data_of_a_file_that_was_moved_away_is_no_proof(
    unseen: Path, watching: Callable[..., Watcher], said: list[str], clock: Clock
) -> None:
    watcher = watching(unseen)
    away = unseen.parent.parent / "elsewhere" / "app.log.1"
    unseen.rename(away)
    unseen.touch()
    until_quiet(watcher)
    for _ in range(5):
        append(away)
        watcher.missed(unseen)
        clock.ahead += 1.0
        assert watcher.wait(0.0) is None
    watcher.missed(unseen.with_name("never watched"))
    assert not watcher.polling and said == []


def test_what_changed_without_any_word_is_found_in_a_minute(
    tmp_path: Path, watching: Callable[..., Watcher], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "logs" / "app.log"
    log.parent.mkdir()
    watcher = watching(log)
    log.parent.rename(tmp_path / "old")
    log.parent.mkdir()
    monkeypatch.setattr(inotify.Inotify, "read", lambda self: os.read(self.descriptor, 1 << 16) and ())
    assert watcher.wait(SHORT) is None
    clock.ahead += RETRY
    assert wakes(watcher, log)
    monkeypatch.undo()
    append(log)
    assert wakes(watcher, log)


def test_stopping_gives_everything_back(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    before = set(os.listdir("/proc/self/fd"))
    watcher = watching(tmp_path / "app.log")
    assert set(os.listdir("/proc/self/fd")) > before
    watcher.stop()
    watcher.stop()
    watcher.wake()
    assert set(os.listdir("/proc/self/fd")) == before
    assert watcher.wait(0.0) is None
