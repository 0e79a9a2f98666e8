"""Whatever happens to logs and to the agent, in any order: the alerts are those of an uninterrupted reading.

A history is a sequence of events that hypothesis draws and, where one fails, makes short. A model of the directory
knows every line that was written and to which file, and which ones nobody could have read: those that were written
between the copying and the truncation of copytruncate, and those of a file that was gone before the agent was back.
"""

import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest
from helpers.history_agent import NOW, POINTS, World, make_pipeline
from helpers.history_logs import ALIKE, NAMES, PACKERS, Line, Log, Writer, nothing
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from agent.alerting.alert import Alert
from agent.bundle.manifest import Threshold
from agent.config import AgentConfig
from agent.telemetry.counters import GONE

pytestmark = pytest.mark.usefixtures("no_thread_left")
HISTORIES = 500
SEED = 34  # another one may find what is not known yet: ODDLINE_SEED=$RANDOM
EVENTS = 40
LOGS = st.integers(0, 3)
FEW = st.integers(1, 3)
SIZES = st.sampled_from([1 << 20, 64, 8])


def runs(history: "Histories") -> bool:
    return history.world.agent is not None


def rests(history: "Histories") -> bool:
    return history.world.agent is None


class Histories(RuleBasedStateMachine):
    """Logs, an agent that reads them, and what happens to both."""

    base: Path
    totals: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.folder = self.base / "logs"  # the same for all, since the order of what is hashed depends on it
        self.folder.mkdir()
        self.writer = Writer()
        self.world = World(self.folder / "state", self.patch)
        self.world.date = lambda: self.writer.tick * 10**9

    # how it begins

    @initialize(
        alike=st.sampled_from([0, 0, 1, len(ALIKE)]),
        late=st.booleans(),
        fold=st.sampled_from([1000, 5, 0]),
        stream=st.sampled_from([None, r"[02468]$"]),
        share=st.sampled_from([1.0, 0.25]),
        pattern=st.sampled_from(["*.log", "*"]),
        kinds=st.tuples(*[st.sampled_from(sorted(NAMES))] * 2),
    )
    def begin(self, alike: int, late: bool, fold: int, stream: str | None, share: float, pattern: str, kinds) -> None:
        self.kinds = kinds  # of the names of rotations: of the log that is named, and of those of the pattern
        (self.folder / "web").mkdir()
        self.app = Log(self.folder / "app.log", self.writer, self.world, alike, late and not alike, kinds[0])
        self.link = Log(self.folder / "day-a.txt", self.writer, self.world)
        self.link.names = [self.folder / "today"]
        self.link.name.symlink_to("day-a.txt")
        self.web = [Log(self.folder / "web" / "shop-1.log", self.writer, self.world, kind=kinds[1])]
        self.gone: list[Log] = []
        self.names, self.pattern = 1, pattern
        sources = [str(self.app.name), str(self.link.name), str(self.folder / "web" / pattern)]
        config = AgentConfig(
            sources, start="start", threshold=Threshold("fixed", value=0.5), fold_lines=fold, stream=stream,
            max_alert_share=share, max_alert_burst=1000 if share == 1.0 else 4,
        )  # fmt: skip
        self.world.config = msgspec.structs.replace(config, state=str(self.folder / "state"))
        for log in self.logs:
            log.write()
        self.world.start()
        self.world.settle()  # an agent that was never there knows of nothing

    @property
    def logs(self) -> list[Log]:
        return [self.app, self.link, *self.web]

    def log(self, number: int) -> Log:
        return self.logs[number % len(self.logs)]

    def look(self, wanted: bool) -> None:
        if wanted:
            self.turn(2, True, 0.0)

    def between(self, wanted: bool):
        return (lambda: self.look(True)) if wanted else nothing

    def turn(self, times: int, hears: bool, seconds: float) -> None:
        for _ in range(times):
            self.world.turn(hears, seconds)
        self.notice()

    def notice(self) -> None:
        """What only an agent that runs can read is gone where none does."""
        if self.world.agent is None:
            self.abandon()

    def abandon(self) -> None:
        for log in [*self.logs, *self.gone]:
            log.abandon()

    def is_met(self, log: Log) -> bool:
        """Whether the agent knows of a log, under whatever name."""
        return any(name in self.world.journal.checkpoints for name in log.sources)

    def may_rotate(self, log: Log) -> bool:
        """Whether what is done is defined: a pattern that names rotated files too takes an unknown one for a log."""
        is_told = self.pattern == "*.log" or log is self.app or str(log.name) in self.world.journal.checkpoints
        return log is not self.link and is_told

    def is_known(self, log: Log, path: Path) -> bool:
        """Whether a copy of a file can be told: something was read of it, or nothing of it was looked at yet."""
        name = str(log.name)
        names = [name] if name in self.world.journal.checkpoints else log.sources
        return self.is_met(log) and self.world.can_tell(names, path)

    # what happens to logs

    @rule(log=LOGS, count=FEW)
    def write(self, log: int, count: int) -> None:
        self.log(log).write(count)

    @precondition(runs)
    @rule(log=LOGS, count=st.integers(1, 6), size=SIZES)
    def write_and_glance(self, log: int, count: int, size: int) -> None:
        self.log(log).write(count)
        self.glance(2, size)

    @rule(log=LOGS)
    def write_part(self, log: int) -> None:
        self.log(log).write_part()

    @rule(anew=st.booleans(), looks=st.integers(0, 2))
    def write_late(self, anew: bool, looks: int) -> None:
        """The writer has not noticed the rotation yet, which the agent may have."""
        if anew:
            self.app.rename()
            self.turn(looks, True, 0.0)
        self.app.write_late()

    @rule(log=LOGS, look=st.booleans())
    def rename(self, log: int, look: bool) -> None:
        log = self.log(log)
        if self.may_rotate(log):
            log.rename(self.between(look))

    @rule(log=LOGS, times=FEW)
    def rotate_often(self, log: int, times: int) -> None:
        log = self.log(log)
        if self.may_rotate(log):
            for _ in range(times):
                log.rename()
                log.write()

    @rule(log=LOGS, more=st.booleans(), window=st.integers(0, 2), look=st.booleans(), after=st.booleans())
    def copytruncate(self, log: int, more: bool, window: int, look: bool, after: bool) -> None:
        """A file of which nothing was read cannot be told from its copy."""
        log = self.log(log)
        self.settle()
        if log.here and self.is_known(log, log.path) and log is not self.link:
            if more and len(log.generation.lines) > log.alike:
                log.write(2)
            log.copytruncate(window, self.between(look), self.between(after))

    @rule(log=LOGS, kind=st.sampled_from(sorted(PACKERS)), look=st.booleans())
    def compress(self, log: int, kind: str, look: bool) -> None:
        """Less than 256 bytes do not tell the compressed file of a log that was renamed since the last look."""
        log = self.log(log)
        if len(log.names) == 1 or str(log.name) in self.world.journal.checkpoints:
            log.compress(kind, self.between(look))

    @rule(log=LOGS)
    def drop_oldest(self, log: int) -> None:
        self.log(log).drop_oldest()

    @rule(log=LOGS, anew=st.booleans())
    def delete(self, log: int, anew: bool) -> None:
        """Less than 256 bytes do not tell the copy of a log that was renamed since the last look and is gone."""
        log = self.log(log)
        is_told = len(log.names) == 1 or not log.rotated or str(log.name) in self.world.journal.checkpoints
        if log.here and not log.can_be_late and log is not self.link and is_told:
            known = len(log.generation.lines)
            log.delete()
            self.notice()
            if anew:
                log.create(known)

    @rule()
    def new_file(self) -> None:
        if len(self.web) < 4:
            self.names += 1
            path = self.folder / "web" / f"shop-{self.names}.log"
            log = Log(path, self.writer, self.world, kind=self.kinds[1])
            self.web.append(log)
            log.write()

    @rule(number=LOGS, back=st.booleans(), count=st.integers(0, 2), looks=st.integers(0, 2))
    def rename_within(self, number: int, back: bool, count: int, looks: int) -> None:
        """A file gets another name that the pattern has, or its first one again; its rotations would not follow."""
        log = self.web[number % len(self.web)]
        if log.here and not log.rotated:
            self.names += 1
            new = log.path.with_name(f"shop-{self.names}.log")
            log.move(log.names[0] if back and log.names[0] != log.path else new)
            self.totals.update(renamed=1)
            log.write(count)
            self.turn(looks, True, 0.0)

    @precondition(lambda self: len(self.web) > 1)
    @rule(number=LOGS)
    def remove_file(self, number: int) -> None:
        log = self.web.pop(number % len(self.web))
        log.delete()
        while log.rotated:
            log.drop_oldest()
        self.gone.append(log)
        self.notice()

    @rule()
    def swap(self) -> None:
        self.names += 1
        self.link.swap(self.folder / f"day-{chr(96 + self.names)}.txt")
        self.notice()

    # what happens to the agent

    @precondition(runs)
    @rule(times=FEW, size=SIZES)
    def glance(self, times: int, size: int) -> None:
        self.world.size = size
        self.turn(times, True, 0.0)
        self.world.size = 1 << 20

    @precondition(runs)
    @rule(times=FEW)
    def no_events(self, times: int) -> None:
        self.turn(times, False, 4.0)

    @rule()
    def settle(self) -> None:
        self.world.settle()
        self.notice()

    @precondition(runs)
    @rule(back=st.booleans())
    def stop(self, back: bool) -> None:
        self.world.stop()
        self.come_back(back)

    @precondition(runs)
    @rule(back=st.booleans())
    def kill(self, back: bool) -> None:
        self.world.kill()
        self.come_back(back)

    @precondition(runs)
    @rule(point=st.sampled_from(POINTS), log=LOGS, back=st.booleans())
    def kill_at(self, point: str, log: int, back: bool) -> None:
        """The agent is killed while it handles a block."""
        self.log(log).write(2)
        self.world.faults.kill_at = point
        self.turn(2, True, 0.0)
        self.come_back(back)

    def come_back(self, wanted: bool) -> None:
        self.notice()
        if wanted:
            self.world.start()

    @precondition(rests)
    @rule(point=st.sampled_from(POINTS))
    def start_and_kill_at(self, point: str) -> None:
        self.world.faults.kill_at = point
        self.world.start()
        self.notice()

    @precondition(rests)
    @rule()
    def start(self) -> None:
        self.world.start()

    @precondition(rests)
    @rule(log=LOGS, count=FEW)
    def write_and_start(self, log: int, count: int) -> None:
        self.log(log).write(count)
        self.world.start()

    @precondition(runs)
    @rule(tries=FEW)
    def disk_full(self, tries: int) -> None:
        self.world.faults.full = tries

    @precondition(runs)
    @rule()
    def doubtful(self) -> None:
        self.world.faults.doubtful = True

    @rule(left=st.integers(0, 3))
    def few_files(self, left: int) -> None:
        self.world.faults.files = left

    @rule()
    def files_again(self) -> None:
        self.world.faults.files = None

    @precondition(runs)
    @rule(longest=st.sampled_from([65536, 65535]))
    def reload(self, longest: int) -> None:
        if longest != self.world.config.max_line:
            self.abandon()  # every file is opened again
        self.world.reload(msgspec.structs.replace(self.world.config, max_line=longest))
        self.notice()

    @precondition(runs)
    @rule(most=st.integers(1, 5))
    def deliver(self, most: int) -> None:
        self.world.deliver(most)

    # how it ends

    def teardown(self) -> None:
        try:
            if hasattr(self, "app"):
                self.finish()
                self.check()
        finally:
            self.world.kill()
            self.patch.undo()
            shutil.rmtree(self.folder)

    def finish(self) -> None:
        """All is well again, and time passes."""
        faults = self.world.faults
        faults.kill_at, faults.full, faults.doubtful, faults.files = "", 0, False, None
        self.notice()
        self.world.start()
        for log in self.logs:
            log.write()
        for _ in range(2):
            self.world.settle()
            self.world.turn(True, 3601.0)  # files that were removed or moved are closed, after their incomplete lines
        self.world.deliver(1 << 20)
        self.totals.update(self.world.faults.seen)

    def check(self) -> None:
        journal = self.world.journal
        for log in [*self.logs, *self.gone]:
            for generation in log.generations[:-1]:
                generation.close()
            log.excuse_alike()
        lines = [(name, block, index) for name, block, _ in journal.entries if block for index in range(len(block))]
        self.totals.update(histories=1, lines=len(lines), alerts=len(self.world.told))
        for log in [*self.logs, *self.gone]:
            got = [(block, index) for name, block, index in lines if name in log.sources]
            problem, missing = compare(log, by_file(log, [block.line(index) for block, index in got]))
            assert not problem, f"{log.name.name}: {problem}\n{self.tell()}"
            if missing:
                self.totals.update(missing=missing)
                assert self.losses(log), f"{log.name.name}: {missing} lines lost, not counted\n{self.tell()}"
        expected = expected_alerts(self.world)
        assert self.world.told == expected, self.tell()

    def losses(self, log: Log) -> int:
        """Those of its sources, and of all that are gone."""
        counts = self.world.agent.reader.ledger.counts
        return sum(counts[name].losses for name in (*log.sources, GONE) if name in counts)

    def tell(self) -> str:
        return "\n".join(self.world.said)


def by_file(log: Log, got: list[bytes]) -> list[bytes]:
    """What was read, each file whole: under two names two files are read at once, each in its order."""
    if len(log.names) == 1:
        return got
    return sorted(
        got,
        key=lambda text: [*(any(line.may_be(text) for line in one.lines) for one in log.generations), True].index(True),
    )


def compare(log: Log, got: list[bytes]) -> tuple[str, int]:
    """What was lost, repeated or out of order, empty where all is well; and how many lines are missing that may be."""
    due = [line for generation in log.generations for line in generation.lines]
    places = {0}  # how many of the lines that are due may have come
    for number, text in enumerate(got):
        after = {place + 1 for place in _skips(due, places) if due[place : place + 1] and due[place].may_be(text)}
        if not after:
            near = sorted(places)
            files = [[line.text[:12].decode() + "?" * line.lost for line in one.lines] for one in log.generations]
            shown = "; ".join(map(" ".join, files))
            return f"line {number}, {text!r}, came at {near} of {shown}", 0
        places = after
    left = [line.text for line in due[max(places) :] if not line.lost]
    if len(due) not in _skips(due, places):
        return f"lost {left}", 0
    certain = [line.text for line in due if line.lost and not line.unseen]
    return "", sum(not any(line.startswith(text) for text in got) for line in certain)


def _skips(due: list[Line], places: set[int]) -> set[int]:
    """The places and those that are reached from them over lines that may be lost."""
    reached = set()
    for place in places:
        reached.add(place)
        while place < len(due) and due[place].lost:
            place += 1
            reached.add(place)
    return reached


def expected_alerts(world: World) -> list[Alert]:
    """The alerts of all that was stored, read by pipelines that nothing happens to."""
    pipelines, alerts = {}, []
    for name, block, identity in world.journal.entries:
        if block is None:
            pipelines.pop(name, None)
            continue
        pipeline = pipelines.setdefault(name, None) or make_pipeline(world.config)
        pipelines[name] = pipeline
        alerts += pipeline.process(block, identity, NOW).alerts
    told: dict[str, Alert] = {}
    for alert in alerts:
        told.setdefault(alert.id, alert)  # the same line at the same place, after the same first line, is the same
    return [*told.values()]


def _fast() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@pytest.mark.timeout(1800)  # on a busy machine
def test_histories(capsys: pytest.CaptureFixture[str]) -> None:
    number = int(os.environ.get("ODDLINE_SEED", SEED))
    count = int(os.environ.get("ODDLINE_HISTORIES", HISTORIES))
    with capsys.disabled():
        print(f"\n{count} histories of ODDLINE_SEED={number}")
    how = settings(
        max_examples=count,
        stateful_step_count=EVENTS,
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    Histories.totals.clear()
    with tempfile.TemporaryDirectory(prefix="history", dir=_fast()) as Histories.base:
        Histories.base = Path(Histories.base)
        run_state_machine_as_test(seed(number)(Histories), settings=how)
    with capsys.disabled():
        print(dict(Histories.totals))
