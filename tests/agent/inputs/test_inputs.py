"""Which files a configuration and its patterns name, and that each of their lines is read once."""

import gzip
import os
from pathlib import Path

import msgspec
import pytest
from helpers.history_agent import World
from helpers.logs import collect_messages

from agent.config import AgentConfig, FileInput
from agent.errors import SourceError
from agent.inputs.manager import Inputs
from agent.sources.files.clock import before_now
from agent.sources.files.globs import folders, is_named, is_pattern, matches
from agent.state.store import State
from agent.telemetry.counters import GONE


class Reader:
    """The inputs of an agent and the lines that came from them, by source; it can be killed and started again."""

    def __init__(self, state: State, *sources: str | FileInput, start: str = "start") -> None:
        self.config = AgentConfig(sources=[*sources], start=start)
        self.state, self.said, self.gone, self.lost = state, collect_messages(), [], 0
        self.got: list[tuple[str, bytes]] = []
        self.start()

    def start(self) -> None:
        self.inputs = Inputs(self.state, self._forget)
        self.state.commit(**self.inputs.starts(self.inputs.configure(self.config)))
        for source in self.inputs.sources.values():
            source.drain()

    def _forget(self, name: str, lost: str) -> None:
        self.gone.append(name)
        self.lost += bool(lost)
        self.state.forget(name)

    def restart(self) -> None:
        self.inputs.close()
        self.start()

    def look(self) -> None:
        opened = self.inputs.scan()
        self.state.commit(**self.inputs.starts(opened))
        for source in opened:
            source.drain()

    def read(self) -> list[bytes]:
        """What is new, after the patterns were looked at."""
        self.look()
        before = len(self.got)
        for source in list(self.inputs.sources.values()):
            while block := source.read():
                self.got += [(Path(source.name).name, line) for line in block.lines()]
                self.state.commit(checkpoints=self.inputs.checkpoints(source))
        return [line for _, line in self.got[before:]]


@pytest.fixture
def state():
    state = State(None)
    yield state
    state.close()


@pytest.fixture
def make(state):
    readers = []

    def make(*sources: object, start: str = "start") -> Reader:
        readers.append(Reader(state, *map(os.fspath, sources), start=start))
        return readers[-1]

    yield make
    for reader in readers:
        reader.inputs.close()


def write(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def test_what_a_pattern_names(tmp_path):
    for name in ("a.log", "b.log", "a.log.1", "a.log-20260101", "a.log.2.gz", "c.log.gz", "d.txt", "e.log.1"):
        (tmp_path / name).write_text(name)
    (tmp_path / "dir.log").mkdir()
    os.mkfifo(tmp_path / "pipe.log")
    (tmp_path / "dangling.log").symlink_to("nowhere")
    assert [path.name for path, _ in matches(f"{tmp_path}/*")] == ["a.log", "b.log", "d.txt", "e.log.1"]
    assert [path.name for path, _ in matches(f"{tmp_path}/*.log")] == ["a.log", "b.log"]
    assert [path.name for path, _ in matches(f"{tmp_path}/*", frozenset([tmp_path / "e.log"]))][-1] == "d.txt"


def test_deep_patterns_and_their_folders(tmp_path):
    for name in ("web/app/x.log", "web/db/y.log", "mail/app/z.log"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    found = matches(f"{tmp_path}/*/app/*.log")
    assert [str(path.relative_to(tmp_path)) for path, _ in found] == ["mail/app/z.log", "web/app/x.log"]
    assert folders(f"{tmp_path}/*/app/*.log") == {tmp_path, tmp_path / "web/app", tmp_path / "mail/app"} | {
        tmp_path / "web",
        tmp_path / "mail",
    }
    assert len(matches(f"{tmp_path}/**/*.log")) == 3
    assert folders(f"{tmp_path}/**/*.log") >= {tmp_path, tmp_path / "web", tmp_path / "web/app", tmp_path / "mail/app"}
    assert folders(f"{tmp_path}/*.log") == {tmp_path}


def test_a_file_with_a_bracket_in_its_name_is_no_pattern(tmp_path, make):
    log = tmp_path / "app[1].log"
    assert is_pattern(str(log))
    write(log, "one")
    assert not is_pattern(str(log))
    assert make(log).read() == [b"one"]


def test_new_files_are_read_from_their_start_and_old_ones_from_their_end(tmp_path, make):
    write(tmp_path / "old.log", "old 1")
    reader = make(tmp_path / "*.log", start="end")
    assert reader.read() == []
    write(tmp_path / "old.log", "old 2")
    write(tmp_path / "new.log", "new 1")
    assert sorted(reader.read()) == [b"new 1", b"old 2"]
    reader.inputs.close()
    write(tmp_path / "old.log", "old 3")
    write(tmp_path / "away.log", "away 1")
    reader.start()
    assert sorted(reader.read()) == [b"away 1", b"old 3"]


def test_a_kill_before_the_first_line_skips_nothing(tmp_path, make):
    write(tmp_path / "a.log", "before")
    reader = make(tmp_path / "*.log", tmp_path / "single", start="end")
    reader.inputs.close()
    write(tmp_path / "a.log", "away")
    write(tmp_path / "b.log", "new")
    reader.start()
    assert reader.read() == [b"away", b"new"]


def test_a_thousand_files(tmp_path, make):
    for number in range(1000):
        write(tmp_path / f"{number:03}.log", f"first of {number}")
    reader = make(tmp_path / "*.log")
    assert len(reader.read()) == 1000 and len(reader.inputs.sources) == 1000
    for number in range(1000):
        write(tmp_path / f"{number:03}.log", f"second of {number}")
    assert len(reader.read()) == 1000
    reader.restart()
    assert reader.read() == []
    for number in range(0, 1000, 2):
        (tmp_path / f"{number:03}.log").unlink()
    write(tmp_path / "001.log", "third")
    assert reader.read() == [b"third"]


@pytest.mark.parametrize("away", [False, True])
def test_a_rename_within_the_pattern_reads_each_line_once(tmp_path, make, away):
    log, old = tmp_path / "app.log", tmp_path / "app-2026.log"
    write(log, "one")
    reader = make(tmp_path / "*.log")
    assert reader.read() == [b"one"]
    if away:
        reader.inputs.close()
    write(log, "two")
    log.rename(old)
    write(log, "three")
    write(old, "late")
    if away:
        reader.start()
    assert sorted(reader.read() + reader.read()) == [b"late", b"three", b"two"]
    write(old, "later still")
    write(log, "four")
    assert sorted(reader.read() + reader.read()) == [b"four", b"later still"]
    reader.restart()
    assert reader.read() == []
    write(old, "last")
    write(log, "five")
    assert sorted(reader.read() + reader.read()) == [b"five", b"last"]
    assert not [word for word in reader.said if "lost" in word]


def test_a_renamed_file_is_read_once_also_when_the_agent_is_killed_while_two_names_share_it(tmp_path, make):
    log, old = tmp_path / "app.log", tmp_path / "app-1.log"
    write(log, "one")
    reader = make(tmp_path / "*.log")
    reader.read()
    log.rename(old)
    write(old, "two")
    assert reader.read() == [b"two"]  # under its first name
    reader.restart()
    write(log, "three")
    assert reader.read() == [b"three"]


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("named", [["*.log"], ["app.log", "app.1.log"]])
def test_a_numbered_log_that_is_followed_too_is_no_rotation(tmp_path, make, away, named):
    log, first, second = (tmp_path / f"app{number}.log" for number in ("", ".1", ".2"))
    write(log, "one " * 100)
    reader = make(*(tmp_path / name for name in named))
    reader.read()
    if away:
        reader.inputs.close()
    write(log, "two")
    log.rename(second)
    write(first, "three")
    write(log, "four")
    if away:
        reader.start()
    assert sorted(reader.read() + reader.read() + reader.read()) == [b"four", b"three", b"two"]
    reader.restart()
    assert reader.read() == []
    assert not [word for word in reader.said if "lost" in word]


def test_two_names_of_one_file_are_read_once_and_a_link_may_change_its_target(tmp_path, make):
    first, second, link = tmp_path / "app-1.log", tmp_path / "app-2.log", tmp_path / "current.log"
    write(first, "one")
    link.symlink_to(first.name)
    reader = make(tmp_path / "*.log")
    assert reader.read() == [b"one"]
    write(second, "two")
    link.unlink()
    link.symlink_to(second.name)
    assert reader.read() == [b"two"]
    write(first, "three")
    write(second, "four")
    assert sorted(reader.read()) == [b"four", b"three"]
    reader.restart()
    write(second, "five")
    assert reader.read() == [b"five"]
    assert not [word for word in reader.said if "lost" in word or "cannot" in word]


def test_a_file_that_is_gone_is_forgotten_and_may_come_anew(tmp_path, make, state):
    log = tmp_path / "a.log"
    reader = make(tmp_path / "*.log")
    write(log, "one")
    reader.read()
    clock = 0.0
    (source,) = reader.inputs.sources.values()
    source._clock = lambda: clock
    log.unlink()
    for _ in range(3):
        clock += 61
        reader.read()
    assert reader.gone == [str(log)] and not reader.inputs.sources and state.checkpoint(str(log)) is None
    write(log, "anew")
    assert reader.read() == [b"anew"]
    assert not [word for word in reader.said if "lost" in word]


def test_a_file_that_cannot_be_opened_is_said_once_and_tried_again(tmp_path, make):
    log = tmp_path / "a.log"
    log.write_bytes(b"\x1f\x8b packed")
    reader = make(tmp_path / "*.log")
    assert reader.read() == reader.read() == []
    assert len([word for word in reader.said if "gzip data" in word]) == 1
    log.write_bytes(b"now a log\n")
    assert reader.read() == [b"now a log"]


def test_another_configuration_keeps_what_it_still_names(tmp_path, make):
    for name in ("a", "b", "c"):
        write(tmp_path / name, f"{name} 1")
    reader = make(tmp_path / "a", tmp_path / "b")
    assert reader.read() == [b"a 1", b"b 1"]
    kept = reader.inputs.sources[str(tmp_path / "b")]
    opened = reader.inputs.configure(AgentConfig(sources=[str(tmp_path / "b"), str(tmp_path / "c")], start="start"))
    assert [source.name for source in opened] == [str(tmp_path / "c")]
    assert reader.inputs.sources[str(tmp_path / "b")] is kept and str(tmp_path / "a") not in reader.inputs.sources
    assert reader.read() == [b"c 1"]
    write(tmp_path / "a", "a 2")
    reader.inputs.configure(AgentConfig(sources=[str(tmp_path / "a")], start="start"))
    assert reader.read() == [b"a 2"]


def test_a_change_of_how_a_file_is_read_goes_on_where_it_was(tmp_path, make):
    log = tmp_path / "a"
    log.write_bytes("eins\n".encode("latin-1"))
    reader = make(log)
    reader.read()
    with log.open("ab") as file:
        file.write("zw\xf6lf\n".encode("latin-1"))
    reader.inputs.configure(AgentConfig(sources=[FileInput(str(log), encoding="latin-1")], start="start"))
    assert reader.read() == ["zw\xf6lf".encode()]


def test_a_configuration_that_cannot_be_had_changes_nothing(tmp_path, make):
    write(tmp_path / "a", "a 1")
    reader = make(tmp_path / "a")
    with pytest.raises(SourceError, match="is a directory"):
        reader.inputs.configure(AgentConfig(sources=[str(tmp_path / "new"), str(tmp_path)]))
    assert reader.read() == [b"a 1"]


def create_as(inode: int, path: Path, folder: Path) -> None:
    """Creates a file that gets an inode which has just become free in a folder."""
    others = []
    for number in range(2000):
        others.append(folder / f"other-{number}")
        others[-1].touch()
        if others[-1].stat().st_ino == inode:
            others.pop().rename(path)
            break
    for other in others:
        other.unlink()
    if not path.exists():
        pytest.skip("this file system does not use an inode again soon")


def compress(log: Path) -> int:
    """Rotates and compresses a log; the inode that is free then."""
    packed, inode = log.with_name(f"{log.name}.1.gz"), log.stat().st_ino
    packed.write_bytes(gzip.compress(log.read_bytes()))
    os.utime(packed, ns=(log.stat().st_atime_ns, log.stat().st_mtime_ns))
    held = log.rename(log.with_name("held"))
    log.touch()
    held.unlink()
    return inode


@pytest.mark.parametrize(("packed", "renamed"), [("a.log", "b.log"), ("b.log", "a.log")])
def test_an_inode_that_another_log_got_meanwhile_confuses_nobody(tmp_path, make, packed, renamed):
    """While the agent is away a log is compressed, and the next file of another one gets its inode."""
    packed, renamed = tmp_path / packed, tmp_path / renamed
    for log in (packed, renamed):
        write(log, *(f"{log.name} {number}" for number in range(20)))
    reader = make(tmp_path / "*.log")
    assert len(reader.read()) == 40
    reader.inputs.close()
    for log in (packed, renamed):
        write(log, f"{log.name} last of the old file")
    renamed.rename(tmp_path / f"{renamed.name}.1")
    create_as(compress(packed), renamed, tmp_path)
    for log in (packed, renamed):
        write(log, f"{log.name} first of the new file")
    reader.start()
    found = reader.read()
    expected = [
        f"{log.name} {which} file".encode()
        for log in (packed, renamed)
        for which in ("last of the old", "first of the new")
    ]
    assert sorted(found) == sorted(expected)
    assert not sum(source.losses for source in reader.inputs.sources.values()), reader.said


@pytest.mark.parametrize("folder", ["", "new"])
def test_a_new_log_with_the_inode_of_an_old_one_is_no_rest_of_it(tmp_path, make, folder):
    """Of the same pattern, or of another one that is looked at first."""
    old, new = tmp_path / "a.log", tmp_path / folder / "b.log"
    new.parent.mkdir(exist_ok=True)
    write(old, *(f"old {number}" for number in range(20)))
    reader = make(tmp_path / "new" / "*.log", tmp_path / "*.log")
    assert len(reader.read()) == 20
    reader.inputs.close()
    write(old, "old, the last of the file")
    create_as(compress(old), new, tmp_path)
    write(new, "new")
    reader.start()
    assert sorted(reader.read()) == [b"new", b"old, the last of the file"]
    assert not sum(source.losses for source in reader.inputs.sources.values()), reader.said


@pytest.mark.parametrize("comes_back", [True, False])
def test_the_rest_of_a_log_that_was_renamed_and_has_no_successor_yet_is_read_once(tmp_path, make, comes_back):
    """By a pattern that matches the rotated files too."""
    log = tmp_path / "a.log"
    write(log, *(f"old {number}" for number in range(20)))
    reader = make(tmp_path / "*")
    assert len(reader.read()) == 20
    reader.inputs.close()
    write(log, "the last of the old file")
    log.rename(tmp_path / "a.log.1")
    (tmp_path / "a.log.2").write_text("older\n")
    os.utime(tmp_path / "a.log.2", (1_700_000_000,) * 2)
    reader.start()
    assert reader.read() == [b"the last of the old file"]
    if comes_back:
        write(log, "the first of the new file")
        assert reader.read() == [b"the first of the new file"]
    assert {name for name, _ in reader.got} == {"a.log"}


def test_a_path_that_a_pattern_would_name_is_told_without_a_look_at_the_disk(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    log = tmp_path / "real/app.1.log"
    for pattern in ("real/*.log", "link/*.log", "*/app.?.log", "**/*.log", "real/**/app*"):
        assert is_named(log, f"{tmp_path}/{pattern}"), pattern
    for pattern in ("*.log", "real/*/*.log", "real/*.txt", "other/**/*.log"):
        assert not is_named(log, f"{tmp_path}/{pattern}"), pattern
    assert not is_named(log.with_name("app.1.log.gz"), f"{tmp_path}/real/*")


def rotate(log: Path) -> None:
    """As logrotate does, without a new file."""
    for number in range(8, 0, -1):
        if (old := log.with_name(f"{log.name}.{number}")).exists():
            old.rename(log.with_name(f"{log.name}.{number + 1}"))
    while before_now() < log.stat().st_mtime_ns:  # renamed later than it was written, as the kernel dates it
        pass
    log.rename(log.with_name(f"{log.name}.1"))


@pytest.mark.parametrize("pattern", ["*.log", "*", "a.log"])
def test_what_is_new_and_was_rotated_before_it_was_opened_is_read_in_order(tmp_path, make, pattern):
    folder, log = tmp_path / "logs", tmp_path / "logs" / "a.log"
    folder.mkdir()
    reader = make(folder / pattern, start="end")
    assert reader.read() == []
    for number in range(3):
        write(log, f"first of {number}", f"second of {number}")
        rotate(log)
    write(log, "last")
    wanted = [f"{place} of {number}".encode() for number in range(3) for place in ("first", "second")] + [b"last"]
    assert reader.read() == wanted
    reader.restart()
    assert reader.read() == []


def test_a_new_file_that_was_rotated_while_nobody_looked_is_read_after_a_restart(tmp_path, make):
    folder = tmp_path / "logs"
    folder.mkdir()
    reader = make(folder / "*.log", folder / "single", start="end")
    reader.inputs.close()
    for name in ("a.log", "single"):
        write(folder / name, f"one of {name}")
        rotate(folder / name)
        write(folder / name, f"two of {name}")
    reader.start()
    assert sorted(reader.read()) == [b"one of a.log", b"one of single", b"two of a.log", b"two of single"]


@pytest.mark.parametrize("pattern", ["*.log", "*"])
def test_the_rest_of_a_log_that_has_no_successor_is_read_and_forgotten_with_it(tmp_path, make, state, pattern):
    folder, log = tmp_path / "logs", tmp_path / "logs" / "a.log"
    folder.mkdir()
    write(log, "one")
    reader = make(folder / pattern)
    assert reader.read() == [b"one"]
    reader.inputs.close()
    write(log, "two")
    rotate(log)
    reader.start()
    assert reader.read() == [b"two"]
    assert reader.read() == [] and state.checkpoint(str(log)) is not None
    reader.restart()
    assert reader.read() == []
    log.with_name("a.log.1").unlink()
    reader.restart()
    assert reader.read() == [] and state.checkpoint(str(log)) is None


def test_a_rename_within_the_pattern_without_a_successor_while_nobody_looks(tmp_path, make):
    log = tmp_path / "app.log"
    write(log, "one")
    reader = make(tmp_path / "*.log")
    reader.read()
    reader.inputs.close()
    write(log, "two")
    log.rename(tmp_path / "old.log")
    reader.start()
    assert reader.read() == [b"two"]
    write(log, "three")
    write(tmp_path / "old.log", "late")
    assert sorted(reader.read()) == [b"late", b"three"]


def test_what_was_there_before_the_first_look_is_not_read_as_new(tmp_path, make):
    folder, log = tmp_path / "logs", tmp_path / "logs" / "a.log"
    folder.mkdir()
    write(log, "old")
    rotate(log)
    os.utime(log.with_name("a.log.1"), (1, 1))
    reader = make(folder / "*.log", start="end")
    write(log, "new")
    assert reader.read() == [b"new"]


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("look", [False, True])
def test_a_rename_within_the_pattern_with_nothing_unread_reads_nothing_again(tmp_path, make, single, look):
    log, old = tmp_path / "app.log", tmp_path / "app.2.log"
    write(log, "one")
    reader = make(*([log] if single else []), tmp_path / "*.log")
    reader.read()
    log.rename(old)
    if look:
        assert reader.read() == []
    write(log, "two")
    if not look:  # it moves on before anybody sees the new name
        (source,) = reader.inputs.sources.values()
        assert list(source.read().lines()) == [b"two"]
        reader.state.commit(checkpoints=reader.inputs.checkpoints(source))
        assert reader.read() == []
    else:
        assert reader.read() == [b"two"]
    reader.restart()
    assert reader.read() == []
    write(old, "late")
    assert reader.read() == [b"late"]


def test_a_log_and_a_pattern_that_names_it_too_read_a_renamed_file_once(tmp_path, make):
    log = tmp_path / "app.log"
    write(log, "one")
    reader = make(log, tmp_path / "*.log")
    reader.read()
    reader.inputs.close()
    write(log, "two")
    log.rename(tmp_path / "app.2.log")
    write(log, "three")
    reader.start()
    assert sorted(reader.read()) == [b"three", b"two"]


def test_a_new_file_under_the_name_of_a_link_that_was_removed(tmp_path, make, state):
    first, link = tmp_path / "a.log", tmp_path / "b.log"
    write(first, "same")
    link.symlink_to(first.name)
    reader = make(tmp_path / "*.log")
    assert reader.read() == [b"same"]
    write(first, "more")
    assert reader.read() == [b"more"] and state.checkpoint(str(link)) is not None
    link.unlink()
    assert reader.read() == [] and state.checkpoint(str(link)) is None
    write(link, "same", "other")
    assert reader.read() == [b"same", b"other"]
    assert not [word for word in reader.said if "cannot" in word]


def test_a_file_that_was_moved_out_of_the_pattern_is_let_go_after_an_hour(tmp_path, make):
    log, archive = tmp_path / "a.log", tmp_path / "archive"
    archive.mkdir()
    write(log, "one")
    reader = make(tmp_path / "*.log")
    reader.read()
    clock = 0.0
    (source,) = reader.inputs.sources.values()
    source._clock = lambda: clock
    log.rename(archive / "a.log")
    write(archive / "a.log", "late")
    assert reader.read() == [b"late"]
    clock = 3500.0
    reader.read()
    assert reader.inputs.sources and not reader.gone
    clock = 8000.0
    reader.read()
    reader.read()
    assert reader.gone == [str(log)] and not reader.inputs.sources


def test_a_pattern_that_names_nothing_and_a_file_with_two_names_are_told(tmp_path, make):
    log = tmp_path / "a"
    write(log, "one")
    (tmp_path / "b").symlink_to("a")
    reader = make(tmp_path / "none" / "*.log", log, tmp_path / "b")
    assert [word for word in reader.said if "names no file yet" in word and "*.log" in word]
    assert [word for word in reader.said if f"{tmp_path}/a and {tmp_path}/b are one file" in word]


def test_a_pattern_whose_files_are_open_is_not_said_to_name_none_at_a_reload(tmp_path, make):
    write(tmp_path / "a.log", "one")
    reader = make(tmp_path / "*.log")
    reader.inputs.configure(AgentConfig(sources=[f"{tmp_path}/*.log"], start="start"))
    assert reader.said == []


def test_more_files_than_may_be_open_wait_and_leave_some_for_the_rest(tmp_path, make, monkeypatch):
    for number in range(10):
        write(tmp_path / f"{number}.log", f"of {number}")
    free = 64 + 4
    monkeypatch.setattr("agent.inputs.scan.free_descriptors", lambda: free)
    reader = make(tmp_path / "*.log")
    free = 64
    assert reader.read() == [b"of 0", b"of 1", b"of 2", b"of 3"]
    assert len([word for word in reader.said if "more files than may be open" in word]) == 1
    free = 1000
    reader.read()
    assert len(reader.inputs.sources) == 10 and sorted(line for _, line in reader.got) == [
        f"of {number}".encode() for number in range(10)
    ]


@pytest.fixture
def world(tmp_path, monkeypatch):
    (tmp_path / "logs").mkdir()
    world = World(tmp_path / "state", monkeypatch)
    world.config = msgspec.structs.replace(world.config, sources=[f"{tmp_path}/logs/*.log"], start="start")
    yield world
    world.kill()


def read_first(world: World, log: Path) -> None:
    """A log of one line, and an agent that has read it."""
    write(log, "one")
    world.start()
    world.settle()


def live(world: World, looks: int = 1) -> None:
    """Starts the agent, if it does not run, and has it read all that there is, and look for new files."""
    world.start()
    world.settle()
    for _ in range(looks):
        world.turn(True, 11.0)
        world.settle()


def losses_of(world: World) -> dict[str, int]:
    return {name: counts.losses for name, counts in world.agent.reader.ledger.counts.items() if counts.losses}


def lines_of(world: World) -> list[bytes]:
    return [line for _, block, _ in world.journal.entries if block for line in block.lines()]


def told_gone(world: World) -> list[str]:
    return [word for word in world.said if "is gone since" in word]


@pytest.mark.parametrize("killed", [None, "committing", "committed"])
@pytest.mark.parametrize("kill", [False, True])
def test_a_file_that_went_while_the_agent_was_away_is_a_loss_that_is_counted_once(tmp_path, world, kill, killed):
    log, kept = tmp_path / "logs" / "a.log", tmp_path / "logs" / "kept.log"
    write(log, "one")
    write(kept, "two")
    world.start()
    world.settle()
    (world.kill if kill else world.stop)()
    write(log, "never read")
    log.unlink()
    world.start()
    if killed:
        world.faults.kill_at = killed
        world.turn(True, 0.0)
        assert world.agent is None
    for _ in range(3):
        world.start()
        world.settle()
        world.reload(world.config)
        world.settle()
        assert losses_of(world) == {GONE: 1}
        world.stop()
    told = f"{log} is gone since it was last read: what was written to it after byte 4, if anything, is lost"
    assert told_gone(world) == [told] * (2 if killed == "committing" else 1)
    write(log, "anew")
    world.start()
    world.settle()
    assert losses_of(world) == {GONE: 1}
    assert [name for name, block, _ in world.journal.entries if block] == [str(log), str(kept), str(log)]


def test_a_file_that_was_renamed_within_the_pattern_and_is_read_is_no_loss(tmp_path, world):
    log, other = tmp_path / "logs" / "a.log", tmp_path / "logs" / "b.log"
    write(log, "one")
    world.start()
    world.settle()
    world.stop()
    write(log, "two")
    log.rename(other)
    for _ in range(2):
        world.start()
        world.settle()
        assert not losses_of(world) and not told_gone(world)
        world.stop()
    assert [*world.journal.checkpoints] == [str(other)]
    other.unlink()
    world.start()
    world.settle()
    assert losses_of(world) == {GONE: 1} and len(told_gone(world)) == 1
    assert told_gone(world)[0].startswith(f"{other} is gone since it was last read: ")
    assert "after byte 8" in told_gone(world)[0]
    assert world.agent.reader.ledger.counts[GONE].lines_read == 2


def test_a_file_with_two_names_that_went_while_the_agent_was_away_is_one_loss(tmp_path, world):
    log, other = tmp_path / "logs" / "a.log", tmp_path / "logs" / "b.log"
    write(log, "one")
    os.link(log, other)
    world.start()
    world.settle()
    world.kill()
    log.unlink()
    other.unlink()
    world.start()
    world.settle()
    assert losses_of(world) == {GONE: 1} and len(told_gone(world)) == 1 and not world.agent.state.checkpoints()


def test_a_file_that_was_removed_and_read_to_its_end_is_no_loss(tmp_path, world):
    log = tmp_path / "logs" / "a.log"
    write(log, "one")
    world.start()
    world.settle()
    write(log, "two")
    log.unlink()
    world.settle()
    for _ in range(3):
        world.turn(True, 61.0)
    assert world.agent.reader.ledger.counts[GONE].lines_read == 2 and not losses_of(world) and not told_gone(world)


@pytest.mark.parametrize("follows", [True, False])
def test_a_renamed_file_that_cannot_be_opened_yet_is_neither_lost_nor_read_again(tmp_path, world, follows):
    log, other = tmp_path / "logs" / "a.log", tmp_path / "logs" / "b.log"
    write(log, "one")
    world.start()
    world.settle()
    world.stop()
    write(log, "two")
    log.rename(other)
    world.faults.files = 0
    world.start()
    world.settle()
    if follows:
        world.stop()
        world.start()
        world.settle()
    world.faults.files = None
    for _ in range(2):
        world.turn(True, 11.0)
        world.settle()
    assert lines_of(world) == [b"one", b"two"] and not losses_of(world) and not told_gone(world)
    assert [*world.journal.checkpoints] == [str(other)]


def test_the_rest_of_a_gone_file_waits_for_its_rotation_to_be_opened(tmp_path, world):
    log = tmp_path / "logs" / "a.log"
    write(log, "one")
    world.start()
    world.settle()
    world.stop()
    write(log, "two")
    rotate(log)
    world.faults.files = 0
    world.start()
    world.settle()
    world.faults.files = None
    world.turn(True, 11.0)
    world.settle()
    assert lines_of(world) == [b"one", b"two"] and not losses_of(world)
    assert world.faults.seen["files refused: rotated"]


@pytest.mark.parametrize("names", [("a", "z", "y"), ("y", "a", "z"), ("z", "y", "a"), ("a", "z", "a")])
def test_a_file_that_is_renamed_again_and_again_is_read_once(tmp_path, world, names):
    paths = [tmp_path / "logs" / f"{name}.log" for name in names]
    write(paths[0], "one")
    world.start()
    world.settle()
    paths[0].rename(paths[1])
    world.turn(True, 11.0)
    write(paths[1], "two")
    world.settle()
    paths[1].rename(paths[2])
    write(paths[2], "three")
    world.turn(False, 1.5)  # the file is looked at, and no new ones are looked for
    world.kill()
    write(paths[2], "four")
    for _ in range(2):
        world.start()
        world.settle()
        assert lines_of(world) == [b"one", b"two", b"three", b"four"]
        assert not losses_of(world) and [*world.agent.state.checkpoints()] == [str(paths[2])]
        world.kill()


def test_the_copy_of_a_renamed_file_is_what_the_first_name_had(tmp_path, world):
    first, second = tmp_path / "logs" / "a.log", tmp_path / "logs" / "b.log"
    read_first(world, first)
    first.rename(second)
    world.turn(True, 11.0)
    world.kill()
    write(second, "two")
    packed = second.with_name("b.log.1.gz")
    packed.write_bytes(gzip.compress(second.read_bytes()))
    second.unlink()
    write(second, "three")
    world.start()
    world.settle()
    assert lines_of(world) == [b"one", b"two", b"three"] and not losses_of(world) and not told_gone(world)


@pytest.mark.parametrize("dropped", [False, True])
def test_a_file_that_is_renamed_and_rotated_twice_between_two_looks_is_read_once(tmp_path, world, dropped):
    first, second = tmp_path / "logs" / "a.log", tmp_path / "logs" / "b.log"
    read_first(world, first)
    first.rename(second)
    world.turn(True, 11.0)
    write(second, "two")
    for line in ("three", "four"):
        rotate(second)
        write(second, line)
    if dropped:
        second.with_name("b.log.2").unlink()
    world.settle()
    world.turn(True, 11.0)
    world.settle()
    assert sorted(lines_of(world)) == [b"four", b"one", b"three", b"two"] and not losses_of(world)


def start_beside_a_removed_log(world: World, first: Path, second: Path) -> None:
    """The source of `first` still has a file open that was removed; the next one is read as `second`."""
    read_first(world, first)
    first.unlink()
    write(first, "two")
    first.rename(second)
    world.turn(True, 11.0)
    world.settle()
    assert lines_of(world)[-2:] == [b"one", b"two"]


@pytest.mark.parametrize("killed", [None, "before", "committing", "committed", "queued", "after", "after no line"])
@pytest.mark.parametrize("anew", [False, True], ids=["the other path is free", "the other path has a new file"])
def test_a_file_that_comes_back_to_its_first_name_is_read_on_there(tmp_path, world, anew, killed):
    first, second = tmp_path / "logs" / "a.log", tmp_path / "logs" / "b.log"
    start_beside_a_removed_log(world, first, second)
    second.rename(first)
    more = [] if killed == "after no line" else ["three"]
    write(first, *more)
    if anew:
        write(second, "four")
    if killed == "before":
        world.kill()
    elif killed is None or killed.startswith("after"):
        world.settle()
        world.turn(True, 11.0)
        world.kill() if killed else None
    else:
        world.faults.kill_at = killed
        world.settle()
        assert world.agent is None
    for _ in range(2):
        live(world)
        wanted = ["one", "two", *more, *["four"] * anew]
        assert sorted(line.decode() for line in lines_of(world)) == sorted(wanted)
        assert not losses_of(world) and not told_gone(world)
        assert [*world.agent.state.checkpoints()] == [str(first), *[str(second)] * anew]
        world.kill()


@pytest.mark.parametrize("removed", [False, True], ids=["renamed back", "another file was removed there"])
def test_where_reading_goes_on_under_another_name_is_stored_before_that_is_forgotten(tmp_path, world, removed):
    earlier, first, second = (tmp_path / "logs" / f"{name}.log" for name in ("0", "a", "b"))
    write(earlier, "zero")
    if removed:
        start_beside_a_removed_log(world, first, second)
    else:
        read_first(world, first)
        first.rename(second)
        world.turn(True, 11.0)
        write(second, "two")
        world.turn(False, 1.5)  # the first name is not forgotten yet
    world.kill()
    second.rename(first)
    write(earlier, "zero")
    world.start()
    world.faults.kill_at = "read"
    world.turn(True, 11.0)
    assert world.agent is None
    world.start()
    world.settle()
    assert sorted(lines_of(world)) == [b"one", b"two", b"zero", b"zero"] and not losses_of(world)


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("kill", [False, True])
def test_a_link_to_a_file_that_another_source_reads_is_left_to_that_one(tmp_path, world, kill, closed):
    first, second = tmp_path / "logs" / "a.log", tmp_path / "logs" / "b.log"
    write(first.with_name("a.log.1"), "zero")
    os.utime(first.with_name("a.log.1"), (1e9, 1e9))
    start_beside_a_removed_log(world, first, second)
    for _ in range(2):
        world.turn(True, 61.0 if closed else 0.0)
    assert world.agent.source(str(first)).is_open is not closed
    os.link(second, first)
    write(first, "three")
    world.settle()
    world.turn(True, 11.0)
    assert lines_of(world) == [b"one", b"two", b"three"]
    assert world.agent.source(str(first)).reopened == 0
    if kill:
        world.kill()
        world.start()
    second.unlink()
    write(first, "four")
    world.settle()
    world.turn(True, 11.0)
    world.settle()
    for _ in range(2):
        assert lines_of(world) == [b"one", b"two", b"three", b"four"] and not losses_of(world)
        world.kill()
        live(world)
    assert [*world.agent.state.checkpoints()] == [str(first)]


def test_a_file_that_comes_to_the_name_of_a_rotated_one_is_read_on_after_that(tmp_path, world):
    first, second = tmp_path / "logs" / "a.log", tmp_path / "logs" / "b.log"
    write(first, "one")
    write(second, "two")
    world.start()
    world.settle()
    world.kill()
    write(first, "three")
    first.rename(first.with_name("a.log.1"))
    second.rename(first)
    write(first, "four")
    for _ in range(2):
        world.start()
        world.turn(True, 0.0)
        world.turn(True, 11.0)
        world.settle()
        world.turn(True, 11.0)
        assert lines_of(world) == [b"one", b"two", b"three", b"four"]
        assert not losses_of(world) and not told_gone(world) and [*world.agent.state.checkpoints()] == [str(first)]
        world.kill()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("looks", [0, 1, 2])
@pytest.mark.parametrize("rest", [False, True], ids=["read to its end", "read in part"])
@pytest.mark.parametrize("seen", [False, True], ids=["not seen under its new name", "seen under its new name"])
def test_a_renamed_log_that_is_rotated_goes_on_under_its_new_name(tmp_path, world, seen, rest, looks, times):
    first, second = tmp_path / "logs" / "a.log", tmp_path / "logs" / "b.log"
    read_first(world, first)
    first.rename(second)
    world.turn(seen, 11.0 if seen else 1.5)
    write(second, "two", *["three", "four"] if rest else [])
    world.size = 6
    for _ in range(times):
        rotate(second)
        write(second, "five")
    world.turn(False, 1.5)  # no new files are looked for
    for _ in range(looks):
        world.turn(True, 11.0)
    world.kill()
    world.size = 1 << 20
    late = [] if looks == 2 and not rest else ["late"]  # that is after the grace
    write(second.with_name(f"b.log.{times}"), *late)
    for _ in range(2):
        live(world)
        wanted = ["one", "two", *(["three", "four"] if rest else []), *late, *["five"] * times]
        assert [line.decode() for line in lines_of(world)] == wanted
        assert not losses_of(world) and not told_gone(world) and [*world.agent.state.checkpoints()] == [str(second)]
        world.kill()


@pytest.mark.parametrize("when", ["away", "before the look", "after the look"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_renamed_log_that_is_copied_and_truncated_is_read_on_in_the_copy(tmp_path, world, packed, when):
    first, second = tmp_path / "logs" / "a.log", tmp_path / "logs" / "b.log"
    read_first(world, first)
    if when == "away":
        world.kill()
    first.rename(second)
    if when == "after the look":
        world.turn(True, 11.0)
    write(second, "two")
    copy = second.with_name("b.log.1.gz" if packed else "b.log.1")
    copy.write_bytes(gzip.compress(second.read_bytes()) if packed else second.read_bytes())
    os.truncate(second, 0)
    write(second, "three")
    for _ in range(2):
        world.start()
        world.turn(False, 1.5)
        world.settle()
        world.turn(True, 11.0)
        world.settle()
        assert lines_of(world) == [b"one", b"two", b"three"]
        assert not losses_of(world) and not told_gone(world) and [*world.agent.state.checkpoints()] == [str(second)]
        world.kill()


def test_a_renamed_log_that_is_copied_and_truncated_and_then_rotated_is_read_on_in_the_copy(tmp_path, world):
    first, second = tmp_path / "logs" / "a.log", tmp_path / "logs" / "b.log"
    read_first(world, first)
    world.kill()
    first.rename(second)
    write(second, "two")
    second.with_name("b.log.1").write_bytes(second.read_bytes())
    os.truncate(second, 0)
    rotate(second)
    write(second, "three")
    for _ in range(2):
        live(world)
        assert lines_of(world) == [b"one", b"two", b"three"] and not told_gone(world)
        world.kill()


@pytest.mark.parametrize("more", [[], ["three"]], ids=["nothing", "something"])
def test_a_renamed_log_that_is_truncated_before_its_old_name_is_forgotten_is_not_read_again(tmp_path, world, more):
    first, second = tmp_path / "logs" / "a.log", tmp_path / "logs" / "b.log"
    read_first(world, first)
    first.rename(second)
    write(second, "two")
    world.turn(True, 11.0)
    second.with_name("b.log.1").write_bytes(second.read_bytes())
    os.truncate(second, 0)
    write(second, *more)
    for _ in range(3):
        world.turn(False, 1.5)  # the old name is not forgotten yet
    world.kill()
    write(second, "four")
    world.start()
    world.settle()
    assert lines_of(world) == [b"one", b"two", *(line.encode() for line in more), b"four"]


def test_a_log_with_two_former_names_goes_on_where_it_was_read_furthest(tmp_path, world):
    first, second, third = (tmp_path / "logs" / f"{name}.log" for name in "abc")
    read_first(world, first)
    first.rename(second)
    write(second, "two")
    world.turn(True, 11.0)  # and the first name is not forgotten yet
    world.kill()
    second.rename(third)
    world.start()
    world.settle()
    assert lines_of(world) == [b"one", b"two"] and [*world.agent.state.checkpoints()] == [str(third)]


def test_a_log_without_a_successor_goes_on_under_its_name_though_the_pattern_names_its_rotation(tmp_path, world):
    world.config = msgspec.structs.replace(world.config, sources=[f"{tmp_path}/logs/*"])
    log = tmp_path / "logs" / "a.log"
    write(log, "one")
    world.start()
    world.settle()
    world.kill()
    rotate(log)
    write(log.with_name("a.log.1"), "two")
    live(world)
    world.turn(True, 11.0)
    write(log, "three")
    world.settle()
    assert lines_of(world) == [b"one", b"two", b"three"] and [*world.agent.state.checkpoints()] == [str(log)]
    assert world.agent.reader.ledger.counts[str(log)].lines_read == 3 and not losses_of(world)


@pytest.mark.parametrize("killed", [False, True])
def test_a_renamed_and_rotated_log_that_has_no_successor_yet_is_read_under_its_new_name(tmp_path, world, killed):
    first, second = tmp_path / "logs" / "a.log", tmp_path / "logs" / "b.log"
    read_first(world, first)
    world.kill()
    first.rename(second)
    write(second, "two")
    rotate(second)
    live(world)
    assert lines_of(world) == [b"one", b"two"]
    if killed:
        world.kill()
        world.start()
    write(second, "three")
    world.settle()
    assert lines_of(world) == [b"one", b"two", b"three"] and not losses_of(world) and not told_gone(world)
    assert [*world.agent.state.checkpoints()] == [str(second)]


@pytest.mark.parametrize("known", [False, True], ids=["a new log", "a renamed log"])
def test_a_rotated_file_that_was_taken_for_a_log_goes_on_as_the_log_that_comes_later(tmp_path, world, known):
    world.config = msgspec.structs.replace(world.config, sources=[f"{tmp_path}/logs/*"])
    first, second = tmp_path / "logs" / "a.log", tmp_path / "logs" / "b.log"
    write(first, "one") if known else None
    world.start()
    world.settle()
    first.rename(second) if known else write(second, "one")
    rotate(second)
    world.turn(True, 11.0)
    assert lines_of(world) == [b"one"]
    write(second.with_name("b.log.1"), "two")
    write(second, "three")
    for _ in range(2):
        world.turn(True, 11.0)
        world.settle()
        world.turn(True, 11.0)
        assert lines_of(world) == [b"one", b"two", b"three"] and not losses_of(world)
        assert [*world.agent.state.checkpoints()] == [str(second)]
        world.kill()
        world.start()


def test_a_log_whose_file_is_new_is_no_renamed_one_because_its_rotation_begins_alike(tmp_path, world):
    first, second = tmp_path / "logs" / "a.log", tmp_path / "logs" / "b.log"
    write(first, "starting")
    world.start()
    world.settle()
    world.kill()
    first.rename(tmp_path / "elsewhere")  # where its inode is not used again
    write(second, "starting", "two")
    rotate(second)
    write(second, "three")
    live(world)
    assert lines_of(world) == [b"starting", b"starting", b"two", b"three"] and losses_of(world) == {GONE: 1}


def test_a_renamed_log_is_not_given_up_while_there_are_too_few_descriptors(tmp_path, world):
    first, second, third = (tmp_path / "logs" / f"{name}.log" for name in "abc")
    read_first(world, first)
    world.kill()
    first.rename(second)
    write(second, "two")
    second.with_name("b.log.1").write_bytes(second.read_bytes())
    os.truncate(second, 0)
    write(third, "three")
    world.faults.files = 0
    world.start()
    world.settle()
    rotate(second)
    for _ in range(3):
        world.turn(True, 11.0)  # there is no such log at present
    write(second, "four")
    world.faults.files = None
    for _ in range(2):
        world.turn(True, 11.0)
        world.settle()
    assert sorted(lines_of(world)) == [b"four", b"one", b"three", b"two"] and not told_gone(world)


@pytest.mark.parametrize(("left", "refused"), [(0, "rotated"), (1, "rotated"), (2, "log")])
def test_a_renamed_log_waits_for_descriptors_to_be_found_among_rotations_and_opened(tmp_path, world, left, refused):
    first, second = tmp_path / "logs" / "a.log", tmp_path / "logs" / "b.log"
    read_first(world, first)
    world.kill()
    first.rename(second)
    write(second, "two")
    rotate(second)
    write(second, "three")
    world.faults.files = left
    world.start()
    world.settle()
    assert lines_of(world) == [b"one"] and world.faults.seen[f"files refused: {refused}"]
    world.faults.files = None
    for _ in range(2):
        world.turn(True, 11.0)
        world.settle()
    assert lines_of(world) == [b"one", b"two", b"three"] and not losses_of(world) and not told_gone(world)


def test_a_link_to_a_removed_name_that_is_rotated_goes_on_with_its_rest(tmp_path, world):
    first, second = tmp_path / "logs" / "a.log", tmp_path / "logs" / "b.log"
    write(first, "one")
    os.link(first, second)
    world.start()
    world.settle()
    first.unlink()
    rotate(second)
    write(second, "two")
    world.turn(True, 11.0)
    world.kill()
    write(second.with_name("b.log.1"), "late")
    world.start()
    world.settle()
    assert sorted(lines_of(world)) == [b"late", b"one", b"two"] and not losses_of(world) and not told_gone(world)


def test_a_log_that_takes_the_name_of_another_and_is_rotated_is_read_once(tmp_path, world):
    first, second = tmp_path / "logs" / "a.log", tmp_path / "logs" / "b.log"
    write(first, "one")
    write(second, "two")
    world.start()
    world.settle()
    rotate(second)
    first.rename(second)
    write(second, "three")
    rotate(second)
    write(second, "four")
    for _ in range(2):
        world.settle()
        world.turn(True, 11.0)
        world.settle()
        assert lines_of(world) == [b"one", b"two", b"three", b"four"] and not losses_of(world)
        assert [*world.agent.state.checkpoints()] == [str(second)]
        world.kill()
        world.start()


def swap(a: Path, b: Path, c: Path) -> list[str]:
    a.rename(c)
    b.rename(a)
    c.rename(b)
    return []


def shift(a: Path, b: Path, c: Path) -> list[str]:
    b.rename(c)
    a.rename(b)
    write(a, "new")
    return ["new"]


def rename_and_recreate(a: Path, b: Path, c: Path) -> list[str]:
    a.rename(c)
    write(a, "new")
    return ["new"]


def rename_rotate_and_recreate(a: Path, b: Path, c: Path) -> list[str]:
    a.rename(c)
    write(c, "more")
    rotate(c)
    write(c, "next")
    write(a, "new")
    return ["more", "next", "new"]


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("what", [swap, shift, rename_and_recreate, rename_rotate_and_recreate])
def test_names_that_change_hands_between_two_looks_cost_no_line_and_repeat_none(tmp_path, world, what, away):
    a, b, c = (tmp_path / "logs" / f"{name}.log" for name in "abc")
    write(a, "one")
    write(b, "two")
    world.start()
    world.settle()
    if away:
        world.kill()
    wanted = sorted(["one", "two", *what(a, b, c)])
    for _ in range(2):
        live(world, looks=3)
        assert sorted(line.decode() for line in lines_of(world)) == wanted and not losses_of(world)
        world.kill()


@pytest.mark.parametrize("away", [False, True])
def test_the_rotations_that_a_renamed_log_leaves_behind_are_no_logs(tmp_path, world, away):
    world.config = msgspec.structs.replace(world.config, sources=[f"{tmp_path}/logs/*"])
    first, second = tmp_path / "logs" / "a.log", tmp_path / "logs" / "b.log"
    read_first(world, first)
    rotate(first)
    write(first, "two")
    world.settle()
    if away:
        world.kill()
    first.rename(second)
    for _ in range(2):
        live(world, looks=3)
        assert lines_of(world) == [b"one", b"two"] and not losses_of(world)
        world.kill()


@pytest.mark.parametrize("single", [False, True])
def test_a_lack_of_descriptors_leaks_none(tmp_path, world, single):
    log = tmp_path / "logs" / "a.log"
    if single:
        world.config = msgspec.structs.replace(world.config, sources=[str(log)])
    write(log, "one")
    world.start()
    world.settle()
    world.kill()
    rotate(log)
    write(log, "two")
    world.faults.files = None if single else 1
    world.start()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        world.faults.files = 1
        world.turn(True, 11.0)
    assert len(os.listdir("/proc/self/fd")) <= before
    world.faults.files = None
    world.turn(True, 11.0)
    world.settle()
    assert lines_of(world) == [b"one", b"two"]


@pytest.mark.parametrize("rotated", [False, True])
def test_a_file_that_goes_before_it_could_be_opened_is_looked_for_or_counted(tmp_path, world, rotated):
    log = tmp_path / "logs" / "a.log"
    write(log, "one")
    world.start()
    world.settle()
    world.kill()
    write(log, "two")
    world.faults.files = 0
    world.start()
    world.settle()
    rotate(log) if rotated else log.unlink()
    world.faults.files = None
    for _ in range(3):
        world.turn(True, 11.0)
        world.settle()
    assert lines_of(world) == [b"one", *[b"two"] * rotated] and losses_of(world) == ({} if rotated else {GONE: 1})
