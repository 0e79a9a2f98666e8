"""A state that is damaged, of another version or on a full disk: set aside, brought up to date or waited for; said."""

import os
import random
import shutil
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from helpers.processes import require_program
from helpers.waiting import until

import agent.delivery.workers
import agent.state.damage
from agent.delivery.workers import Delivery
from agent.errors import ConfigError, SinkError, StateDamaged, StateUnavailable
from agent.sources.files.checkpoint import FileCheckpoint
from agent.state.lock import StateLock
from agent.state.store import FILE, LOCK, State

pytestmark = pytest.mark.usefixtures("no_thread_left")
POSITION = msgspec.msgpack.encode(FileCheckpoint(1, 2, "3:abc", 700, 8))
PAGE = 4096


def fill(folder: Path, make_alert: Callable) -> State:
    """A state of some dozens of pages, still open."""
    state = State(folder)
    state.register_sinks(["a"])
    rows = [("f", b"key %d" % number, msgspec.msgpack.encode(f"{number}" * 90)) for number in range(300)]
    state.commit([("f", POSITION)], rows, [], [("count:f", msgspec.msgpack.encode({}))], [make_alert(1), make_alert(2)])
    return state


def left_by_kill(tmp_path: Path, make_alert: Callable, checkpoint: bool = False) -> Path:
    """The folder of an agent that was killed: its last changes are in the log of SQLite alone."""
    state = fill(tmp_path / "running", make_alert)
    if checkpoint:
        state.database.connection.execute("PRAGMA wal_checkpoint(RESTART)")
        state.commit([("f", POSITION)])
    folder = shutil.copytree(tmp_path / "running", tmp_path / "killed")
    state.close()
    assert (folder / f"{FILE}-wal").stat().st_size > 10 * PAGE
    return folder


def ended(tmp_path: Path, make_alert: Callable) -> Path:
    fill(tmp_path / "ended", make_alert).close()
    assert os.listdir(tmp_path / "ended") != [] and not (tmp_path / "ended" / f"{FILE}-wal").exists()
    return tmp_path / "ended"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def assert_set_aside(folder: Path, why: str, said: list[str]) -> list[Path]:
    """Opens a damaged state: it says why, in one sentence, where the old one is, and begins anew; not a second time."""
    before, had = names(folder), {path.name: path.read_bytes() for path in folder.iterdir() if path.name != LOCK}
    said.clear()
    state = State(folder)
    assert state.checkpoint("f") is None and list(state.streams("f")) == []
    moved = sorted(path for path in folder.iterdir() if ".damaged-" in path.name and path.name not in before)
    first = [path for path in moved if not path.name.endswith(("-wal", "-shm"))]
    assert len(said) == 1 and why in said[0] and "\n" not in said[0], said
    place = str(first[0]) if first else str(moved[0]).removesuffix("-wal").removesuffix("-shm")
    for words in (
        f"it is set aside as {place}: ",
        "the positions, windows and undelivered alerts in it are lost",
        "`from`",
    ):
        assert words in said[0]
    for path in first:
        assert path.read_bytes() == had[FILE]
    state.register_sinks(["a"])
    state.commit([("f", POSITION)])
    state.close()
    state = State(folder)
    assert state.checkpoint("f") == POSITION and len(said) == 1
    state.close()
    return moved


def overwrite(file: Path, start: int, content: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(start)
        opened.write(content)


JUNK = b"\xa5junk" * 2000
DAMAGE = {
    "junk": (lambda file: file.write_bytes(JUNK), "is damaged: it is no database"),
    "a short word": (lambda file: file.write_bytes(b"oops"), "is damaged: it is no database"),
    "empty": (lambda file: file.write_bytes(b""), "is damaged: it is empty"),
    "cut within the header": (lambda file: os.truncate(file, 60), "is damaged: "),
    "cut in the middle": (lambda file: os.truncate(file, file.stat().st_size // 2), "is damaged: "),
    "cut within a page": (lambda file: os.truncate(file, file.stat().st_size - 100), "is damaged: "),
    "junk at the header": (lambda file: overwrite(file, 0, JUNK[:100]), "is damaged: it is no database"),
    "junk behind the magic": (lambda file: overwrite(file, 16, b"\xff" * 24), "is damaged: "),
    "junk in the middle": (lambda file: overwrite(file, 8 * PAGE, JUNK[:PAGE]), "is damaged: "),
    "zeros in the middle": (lambda file: overwrite(file, 6 * PAGE, bytes(PAGE)), "is damaged: "),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_database_is_set_aside_and_a_new_one_begins(tmp_path, make_alert, kind, said):
    folder = ended(tmp_path, make_alert)
    damage, why = DAMAGE[kind]
    damage(folder / FILE)
    assert_set_aside(folder, why, said)


# A page that is there in part may be what a power loss left of a checkpoint; SQLite mends that from its log.
@pytest.mark.parametrize("kind", [kind for kind in DAMAGE if kind != "cut within a page"])
def test_so_is_what_a_kill_left_with_the_log_of_sqlite(tmp_path, make_alert, kind, said):
    folder = left_by_kill(tmp_path, make_alert, checkpoint=True)
    damage, why = DAMAGE[kind]
    damage(folder / FILE)
    moved = assert_set_aside(folder, why, said)
    assert any(path.name.endswith("-wal") for path in moved), "what may still be got from it lies together"


def junk_log(folder: Path) -> None:
    overwrite(folder / f"{FILE}-wal", 0, JUNK[:3000])


def zero_log(folder: Path) -> None:
    overwrite(folder / f"{FILE}-wal", 0, bytes(5000))


@pytest.mark.parametrize("damage", [junk_log, zero_log])
def test_a_log_of_sqlite_that_is_junk_is_set_aside_with_its_database(tmp_path, make_alert, damage, said):
    folder = left_by_kill(tmp_path, make_alert)
    damage(folder)
    assert_set_aside(folder, f"is damaged: {FILE}-wal with its last changes cannot be read", said)


def reopened(folder: Path, said: list[str]) -> tuple[bytes | None, int]:
    """Where a source is read to and how many alerts wait, after a start that is killed and another one."""
    state = State(folder)
    again = State(shutil.copytree(folder, folder.with_name("again")))
    found = again.checkpoint("f"), again.backlog("a")
    assert found == (state.checkpoint("f"), state.backlog("a"))
    again.close()
    state.close()
    return found


@pytest.mark.parametrize("damage", [lambda log: log.unlink(), lambda log: log.write_bytes(b"")])
def test_where_that_log_is_gone_reading_goes_on_at_an_earlier_place(tmp_path, make_alert, damage, said):
    state = fill(tmp_path / "running", make_alert)
    state.database.connection.execute("PRAGMA wal_checkpoint(RESTART)")
    state.commit([("f", msgspec.msgpack.encode(FileCheckpoint(1, 2, "3:abc", 900, 9)))], alerts=[make_alert(3)])
    folder = shutil.copytree(tmp_path / "running", tmp_path / "killed")
    state.close()
    damage(folder / f"{FILE}-wal")
    assert reopened(folder, said) == (POSITION, 2), "the alert is made again when its line is read again"
    assert len(said) == 1 and f"{FILE}-wal, which held the last changes, was removed, or another program" in said[0]


def test_another_program_may_take_over_what_is_in_that_log(tmp_path, make_alert, said):
    folder = left_by_kill(tmp_path, make_alert)
    db = sqlite3.connect(folder / FILE)
    assert db.execute("SELECT COUNT(*) FROM positions").fetchone() == (1,)
    db.close()  # which removes the log
    assert not (folder / f"{FILE}-wal").exists()
    assert reopened(folder, said) == (POSITION, 2) and len(said) == 1 and "took them over" in said[0]


@pytest.mark.parametrize("damage", [lambda shm: shm.unlink(), lambda shm: shm.write_bytes(JUNK)])
def test_the_index_of_that_log_is_made_anew(tmp_path, make_alert, damage, said):
    folder = left_by_kill(tmp_path, make_alert)
    damage(folder / f"{FILE}-shm")
    state = State(folder)
    assert state.checkpoint("f") == POSITION and len(state.pending("a", 9)) == 2 and said == []
    state.close()


def test_a_log_whose_database_is_gone_is_no_part_of_the_new_one(tmp_path, make_alert, said):
    folder = left_by_kill(tmp_path, make_alert)
    (folder / FILE).unlink()
    assert_set_aside(folder, f"is gone, but {FILE}-wal is there", said)


def test_what_a_kill_left_is_taken_as_it_is(tmp_path, make_alert, said):
    folder = left_by_kill(tmp_path, make_alert)
    for _ in range(2):
        state = State(folder)
        assert state.checkpoint("f") == POSITION and len(list(state.streams("f"))) == 300 and said == []
        state.close()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("UPDATE positions SET position = x'c1'", "a position in it cannot be read"),
        ("UPDATE positions SET position = 'text'", "a position in it cannot be read"),
        ("UPDATE streams SET blob = x'81' WHERE number = 77", "a stream in it cannot be read"),
        ("UPDATE memory SET blob = x'c1' WHERE name = CAST('count:f' AS BLOB)", "a count in it cannot be read"),
        ("DROP TABLE recent", "tables are missing"),
        ("PRAGMA user_version = 0", "tables are missing"),
    ],
)
def test_rows_that_cannot_be_read_are_damage(tmp_path, make_alert, change, why, said):
    folder = ended(tmp_path, make_alert)
    db = sqlite3.connect(folder / FILE)
    db.execute(change)
    db.commit()
    db.close()
    assert_set_aside(folder, f"is damaged: {why}", said)


def test_three_damaged_states_are_kept_and_none_is_overwritten(tmp_path, monkeypatch, said):
    monkeypatch.setattr("agent.state.damage.time.strftime", lambda form: "20260309T031245")
    for number in range(5):
        (tmp_path / FILE).write_bytes(b"junk %d" % number)
        (tmp_path / f"{FILE}-wal").write_bytes(b"log %d" % number)
        State(tmp_path).close()
    base = f"{FILE}.damaged-20260309T031245"
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.damaged-*")} == {
        f"{base}{number}{end}": what + b"%d" % index
        for index, number in ((2, "-3"), (3, "-4"), (4, "-5"))
        for end, what in (("", b"junk "), ("-wal", b"log "))
    }
    assert [word for word in said if "removed" in word] == [
        f"{tmp_path}/{name} is removed: the last 3 damaged states are kept" for name in (base, f"{base}-2")
    ]


def test_a_large_state_is_checked_only_after_an_unclean_end(tmp_path, make_alert, monkeypatch, said):
    monkeypatch.setattr(agent.state.damage, "CHECKED_ALWAYS", 1000)
    for how in (ended, left_by_kill):
        folder = how(tmp_path, make_alert)
        db = sqlite3.connect(folder / FILE)
        db.execute("UPDATE streams SET blob = x'c1' WHERE number = 77")
        db.commit()
        held = shutil.copytree(folder, tmp_path / f"{how.__name__} changed")
        db.close()
        said.clear()
        state = State(held)
        assert (state.checkpoint("f") is None) == (how is left_by_kill) == bool(said)
        state.close()


@pytest.mark.parametrize("pragma", ["", "PRAGMA application_id = 77"])
def test_another_program_keeps_its_database_whatever_its_condition(tmp_path, pragma):
    other = sqlite3.connect(tmp_path / FILE)
    other.executescript(f"{pragma}; CREATE TABLE notes (text)")
    other.close()
    for content in ((tmp_path / FILE).read_bytes(), (tmp_path / FILE).read_bytes()[:-100]):
        (tmp_path / FILE).write_bytes(content)
        if not pragma and len(content) % PAGE:
            continue  # nothing says any more whose it is
        with pytest.raises(ConfigError, match="is a database of another program; choose another folder"):
            State(tmp_path)
        assert (tmp_path / FILE).read_bytes() == content and not list(tmp_path.glob("*damaged*"))


def test_damage_that_shows_later_ends_the_run_and_is_set_aside_by_the_next(tmp_path, make_alert, said):
    folder = ended(tmp_path, make_alert)
    state = State(folder)
    pages = (folder / FILE).stat().st_size // PAGE
    overwrite(folder / FILE, PAGE, JUNK[:PAGE] * (pages - 1))
    with pytest.raises(StateDamaged, match=rf"{FILE} is damaged: .*; the next start sets it aside and begins") as first:
        list(state.streams("f"))
    assert "\n" not in str(first.value) and state.fault is first.value
    for call in (lambda: state.commit([("f", POSITION)]), lambda: state.backlog("a"), lambda: state.delivered("a", 1)):
        with pytest.raises(StateDamaged):
            call()
    state.close()
    assert_set_aside(folder, "is damaged: database disk image is malformed", said)


def test_what_a_reader_of_the_state_cannot_understand_condemns_it(tmp_path, make_alert, said):
    folder = ended(tmp_path, make_alert)
    state = State(folder)
    error = state.condemn("the position of f lacks\nan offset")
    assert isinstance(error, SinkError) and "is damaged: the position of f lacks" in str(error)
    state.close()
    before = StateLock(folder)  # a start that is killed before it has set the state aside
    assert not before.clean
    before.release(clean=False)
    assert_set_aside(folder, "is damaged: the position of f lacks an offset; it is", said)


def test_a_state_that_is_removed_in_use_is_told(tmp_path, make_alert):
    state = fill(tmp_path / "state", make_alert)
    shutil.rmtree(tmp_path / "state")
    for _ in range(2):
        with pytest.raises(
            StateDamaged, match=r"was removed or replaced while the agent used it.*start the agent again"
        ):
            state.commit([("f", POSITION)])
    state.close()
    State(tmp_path / "state").close()


def test_an_alert_that_cannot_be_read_is_skipped_and_counted_for_each_sink(tmp_path, make_alert, said):
    state = State(tmp_path)
    state.register_sinks(["a", "b"])
    state.commit(alerts=[make_alert(number) for number in range(1, 10)])
    for number, blob in ((1, b"\xc1"), (2, b""), (5, b"\x81\xa1"), (9, msgspec.msgpack.encode({"id": 3}))):
        state.database.connection.execute("UPDATE outbox SET alert = ? WHERE number = ?", (blob, number))
    for sink in "ab":
        assert [number for number, _ in state.pending(sink, 4)] == [3, 4]
        assert state.backlog(sink) == 7 and state.lost(sink) == {"damaged": 2}
        state.delivered(sink, 4)
        assert [number for number, _ in state.pending(sink, 9)] == [6, 7, 8]
        state.delivered(sink, 7, refused=1)
        assert (state.lost(sink), state.delivered_count(sink)) == ({"damaged": 3, "refused": 1}, 3)
        state.delivered(sink, 8)
        assert state.pending(sink, 9) == [] and state.backlog(sink) == 0
        assert (state.lost(sink), state.delivered_count(sink)) == ({"damaged": 4, "refused": 1}, 4)
    assert len(said) == 4 and all("is skipped and counted as lost" in word for word in said)
    state.close()


class Sink:
    def __init__(self) -> None:
        self.name, self.taken, self.gate = "a", [], threading.Event()

    def send(self, alert) -> None:
        self.gate.wait(60)
        self.taken.append(alert.line)

    def close(self) -> None:
        pass


def test_delivery_goes_on_behind_alerts_that_cannot_be_read(tmp_path, make_alert, said):
    state, sink = State(tmp_path), Sink()
    state.register_sinks(["a"])
    state.commit(alerts=[make_alert(number) for number in range(200)])
    state.database.connection.execute("UPDATE outbox SET alert = x'c1' WHERE number NOT IN (80, 81, 199)")
    sink.gate.set()
    delivery = Delivery(state, [sink])
    delivery.start()
    assert delivery.drain(30) == {} and sink.taken == [79, 80, 198]
    assert len(said) == 197 and not any(word.startswith("sink") for word in said)
    assert state.lost("a") == {"damaged": 197} and state.delivered_count("a") == 3
    delivery.stop()
    state.close()


VERSION_1 = """
CREATE TABLE positions (source BLOB PRIMARY KEY, position BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE streams (
    number INTEGER PRIMARY KEY, source BLOB NOT NULL, key BLOB NOT NULL, blob BLOB NOT NULL, UNIQUE (source, key)
);
CREATE TABLE memory (name BLOB PRIMARY KEY, blob BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE sinks (name BLOB PRIMARY KEY, delivered INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE recent (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);
CREATE TABLE outbox (number INTEGER PRIMARY KEY, alert BLOB NOT NULL);
PRAGMA application_id = 1868850284;
PRAGMA user_version = 1;
"""


def version_1(folder: Path, alerts: list) -> sqlite3.Connection:
    """The state of an agent of version 1, open as that agent had it; a sink `a` took the first of the alerts."""
    folder.mkdir()
    db = sqlite3.connect(folder / FILE)
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(VERSION_1)
    db.execute("INSERT INTO positions VALUES (?, ?)", (b"f", POSITION))
    db.execute("INSERT INTO streams VALUES (1, ?, ?, ?)", (b"f", b"k", POSITION))
    db.executemany("INSERT INTO memory VALUES (?, ?)", [(b"guard", b"\xff" * 32), (b"delivered:a", b"1")])
    for number, alert in enumerate(alerts, 1):
        db.execute("INSERT INTO recent VALUES (?, ?)", (number, alert.id))
        db.execute("INSERT INTO outbox VALUES (?, ?)", (number, msgspec.msgpack.encode(alert)))
    db.execute("INSERT INTO sinks VALUES (?, 1)", (b"a",))
    db.commit()
    (folder / LOCK).write_text("4711")
    return db


@pytest.mark.parametrize("ending", ["clean", "killed"])
def test_a_state_of_version_1_is_brought_up_to_date_and_delivered(tmp_path, make_alert, ending, said):
    db = version_1(tmp_path / "old", [make_alert(number) for number in range(1, 5)])
    folder = shutil.copytree(tmp_path / "old", tmp_path / "killed") if ending == "killed" else tmp_path / "old"
    db.close()
    sink = Sink()
    state = State(folder)
    assert len(said) == 1 and "was of version 1 and is brought to 2; an older agent cannot use it now" in said[0]
    assert state.checkpoint("f") == POSITION and list(state.streams("f")) == [(b"k", POSITION)]
    assert state.blob("guard") == b"\xff" * 32 and state.lost("a") == {}
    sink.gate.set()
    delivery = Delivery(state, [sink])
    delivery.start()
    assert delivery.drain(30) == {} and sink.taken == [2, 3, 4] and state.delivered_count("a") == 4
    delivery.stop()
    state.close()
    State(folder).close()
    assert len(said) == 1


def test_a_migration_that_breaks_off_changes_nothing_and_is_made_again(tmp_path, make_alert, monkeypatch):
    version_1(tmp_path / "old", [make_alert(1), make_alert(2)]).close()
    broken = {1: "CREATE TABLE lost (sink); CREATE TABLE extra (a); INSERT INTO nowhere VALUES (1);"}
    with monkeypatch.context() as patched:
        patched.setattr("agent.state.schema._MIGRATIONS", broken)
        with pytest.raises(ConfigError, match="cannot be opened: no such table: nowhere"):
            State(tmp_path / "old")
    db = sqlite3.connect(tmp_path / "old" / FILE)
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert db.execute("PRAGMA user_version").fetchone() == (1,) and not tables & {"lost", "extra"}
    db.close()
    state = State(tmp_path / "old")
    assert state.checkpoint("f") == POSITION and state.backlog("a") == 1
    state.close()


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 2 MB of its own."""
    mount, place = require_program("mount"), tmp_path / "disk"
    place.mkdir()
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("mounting a file system is not permitted here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def fill_disk(state: State, disk: Path) -> Path:
    """Fills a disk, also what SQLite has in reserve there; the file that is in the way."""
    ballast = disk / "ballast"
    with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as file:
        while True:
            if file.write(bytes(PAGE)) < PAGE:
                file.write(b"\0")
    number = 0
    with pytest.raises(StateUnavailable, match="disk is full; free space on its disk; nothing was stored in part"):
        while True:
            state.commit(blobs=[("count:filler", msgspec.msgpack.encode([number, "x" * 3000]))])
            number += 1
    return ballast


def test_a_full_disk_loses_nothing_and_the_same_commit_works_when_there_is_room(small_disk, make_alert, said):
    state = fill(small_disk / "state", make_alert)
    ballast = fill_disk(state, small_disk)
    later = msgspec.msgpack.encode(FileCheckpoint(1, 2, "3:abc", 900, 9))
    changes = [[("f", later)], [("f", b"k", POSITION)], [("f", b"key 5")], [("m", b"1")], [make_alert(3)]]
    for _ in range(3):
        with pytest.raises(StateUnavailable):
            state.commit(*changes)
        assert state.checkpoint("f") == POSITION and state.backlog("a") == 2 and len(list(state.streams("f"))) == 300
    with pytest.raises(StateUnavailable):
        state.delivered("a", 1)
    assert state.backlog("a") == 2 and state.fault is None
    ballast.unlink()
    state.commit(*changes)
    state.delivered("a", 1)
    state.close()
    state = State(small_disk / "state")
    assert state.checkpoint("f") == later and len(list(state.streams("f"))) == 300 and said == []
    assert [alert.line for _, alert in state.pending("a", 9)] == [2, 3]
    state.close()


def test_a_full_disk_at_the_start_is_no_damage(small_disk, make_alert, said):
    state = fill(small_disk / "state", make_alert)
    killed = shutil.copytree(small_disk / "state", small_disk / "killed")
    (killed / f"{FILE}-shm").unlink()
    ballast = fill_disk(state, small_disk)
    with pytest.raises(ConfigError, match="cannot be") as caught:
        State(killed)
    assert "\n" not in str(caught.value) and not list(killed.glob("*damaged*"))
    with pytest.raises(ConfigError, match="cannot be"):
        State(small_disk / "new")
    ballast.unlink()
    for folder in (killed, small_disk / "new"):
        said.clear()
        again = State(folder)
        assert (again.checkpoint("f") == POSITION) == (folder == killed) and said == []
        again.close()
    state.close()


def test_what_was_sent_while_the_disk_is_full_is_not_sent_again(small_disk, make_alert, monkeypatch, said):
    monkeypatch.setattr(agent.delivery.workers, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(agent.delivery.workers, "LONGEST_DELAY", 0.05)
    state, sink = State(small_disk / "state"), Sink()
    delivery = Delivery(state, [sink])
    state.commit(alerts=[make_alert(number) for number in range(100)])
    ballast = fill_disk(state, small_disk)
    delivery.start()
    sink.gate.set()
    until(lambda: said)
    assert said[0].startswith("sink a waits: state ") and "disk is full" in said[0]
    assert state.backlog("a") == 100 and sink.taken == list(range(64)), "no more than one batch goes unnoted"
    ballast.unlink()
    until(lambda: state.backlog("a") == 0)
    assert sink.taken == list(range(100)) and state.delivered_count("a") == 100
    until(lambda: len(said) == 2)
    assert said[1] == "sink a works again"
    delivery.stop()
    state.close()


def test_a_file_system_that_turns_read_only_is_waited_for(small_disk, make_alert):
    state = fill(small_disk / "state", make_alert)
    state.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(ConfigError, match=r"state .* cannot be used: Read-only file system; choose one that can be"):
        State(small_disk / "state")
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    state = State(small_disk / "state")
    state.database.connection.execute("PRAGMA query_only = 1")
    with pytest.raises(StateUnavailable, match="cannot be used: attempt to write a readonly database"):
        state.commit([("f", POSITION)], alerts=[make_alert(9)])
    state.database.connection.execute("PRAGMA query_only = 0")
    state.commit([("f", POSITION)], alerts=[make_alert(9)])
    assert state.backlog("a") == 3
    state.close()


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_something_else_in_the_place_of_the_database_is_left_alone(tmp_path, kind):
    (tmp_path / FILE).mkdir() if kind == "folder" else os.mkfifo(tmp_path / FILE)
    with pytest.raises(
        ConfigError, match=rf"state {tmp_path}/{FILE} (cannot be opened: Is a dir|is no file)"
    ) as caught:
        State(tmp_path)
    assert "\n" not in str(caught.value) and names(tmp_path) == {FILE, LOCK}


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_state_of_another_user_is_one_line(tmp_path, make_alert, kind):
    folder = ended(tmp_path, make_alert)
    for path in [tmp_path, *tmp_path.parents][:3]:
        path.chmod(path.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    folder.chmod(0o755)
    if kind == "file":
        for path in (folder, folder / LOCK):
            os.chown(path, 65534, -1)
    os.seteuid(65534)
    try:
        with pytest.raises(ConfigError, match=r"cannot be (used|opened): Permission denied; ") as caught:
            State(folder)
    finally:
        os.seteuid(0)
        for path in (folder, folder / LOCK):
            os.chown(path, 0, -1)
    assert "\n" not in str(caught.value) and not list(folder.glob("*damaged*"))
    State(folder).close()


def _flips(size: int) -> Iterator[list[int]]:
    """Numbers of bits: each that is set in the header, and many over the whole file, one to four at a time."""
    chance = random.Random(int(os.environ.get("ODDLINE_SEED", "11")))
    yield from ([bit] for bit in range(100 * 8))
    yield from ([8 * chance.randrange(100, PAGE) + chance.randrange(8)] for _ in range(600))  # sqlite_master
    yield from ([chance.randrange(size * 8) for _ in range(chance.choice((1, 1, 4)))] for _ in range(600))


@pytest.mark.parametrize("unclean", [False, True])
def test_whichever_bits_are_flipped_the_next_start_works_and_keeps_working(tmp_path, make_alert, unclean):
    """Most flips leave the state as usable as before; the others have it set aside. None is a dead end."""
    sound, folder = ended(tmp_path, make_alert), tmp_path / "flipped"
    content, how = (sound / FILE).read_bytes(), {True: 0, False: 0}
    for bits in _flips(len(content)):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(0o700)
        flipped = bytearray(content)
        for bit in bits:
            flipped[bit // 8] ^= 1 << bit % 8
        (folder / FILE).write_bytes(flipped)
        if unclean:
            (folder / LOCK).write_text("4711 open")
        try:
            use(folder, make_alert)
        except StateDamaged:  # it shows only in use; the next start sets it aside
            use(folder, make_alert)
        how[any("damaged" in name for name in names(folder))] += 1
    assert min(how.values()) > 100, how


def use(folder: Path, make_alert: Callable) -> None:
    state = State(folder)
    try:
        state.register_sinks(["a"])
        state.checkpoints()
        for key, _ in list(state.streams("f")):
            assert isinstance(key, bytes)
        state.commit([("f", POSITION)], [("f", b"key 1", msgspec.msgpack.encode("x"))], alerts=[make_alert(77)])
        for number, _ in state.pending("a", 100):
            state.delivered("a", number)
        assert state.lost("a") is not None and state.delivered_count("a") >= 0
    finally:
        state.close()
