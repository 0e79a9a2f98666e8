"""What the agent writes may not come back as what it reads, whether or not the file exists yet."""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from helpers.made_up import made_up_lines
from helpers.processes import refusal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.app.loop_check import refuse_file_loops
from agent.config import AgentConfig
from agent.errors import ConfigError
from agent.sources.files.globs import matches

pytestmark = pytest.mark.usefixtures("no_thread_left")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Folders, one of them hidden, one under a second name and one under a name in a folder of its own."""
    for folder in ("logs/web", "logs/.git", "far/away"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "logs" / "app.log").write_bytes(b"a line\n")
    (tmp_path / "link").symlink_to("logs")
    (tmp_path / "logs" / "mail").symlink_to(tmp_path / "far" / "away")
    return tmp_path


def is_refused(sources: list[str], **written: object) -> bool:
    try:
        refuse_file_loops(AgentConfig(sources=sources, **written))
    except ConfigError as error:
        assert "is tailed" in str(error) or "are tailed" in str(error) or "is a socket that is read" in str(error)
        assert "\n" not in str(error)
        return True
    return False


NAMED = [
    ("logs/*", "logs/alerts.jsonl"),
    ("logs/*.jsonl", "logs/alerts.jsonl"),
    ("logs/*", "link/alerts.jsonl"),
    ("link/*", "logs/alerts.jsonl"),
    ("logs/*/alerts", "far/away/alerts"),
    ("logs/**", "logs/web/alerts"),
    ("logs/**/alerts", "logs/alerts"),
    ("logs/**/alerts", "far/away/alerts"),
    ("l*/*", "logs/alerts"),
    ("logs/*", "logs/web/../alerts"),
    ("logs/later/*", "logs/later/alerts"),
    ("logs/*/*", "link/later/alerts"),
    ("logs/**/*.jsonl", "logs/later/and/later/alerts.jsonl"),
    ("logs/app.log", "logs/app.log"),
    ("link/later.log", "logs/later.log"),
    ("logs/later/app.log", "link/later/app.log"),
    ("logs/a[1].log", "logs/a[1].log"),
    ("logs/*", "logs/app.log.1"),
    ("logs/.*", "logs/.alerts"),
]
NOT_NAMED = [
    ("logs/*.log", "logs/alerts.jsonl"),
    ("logs/*", "logs/web/alerts"),
    ("logs/*", "alerts"),
    ("logs/*", "logs/.alerts"),
    ("logs/**", "logs/.git/alerts"),
    ("logs/**", "logs/.alerts"),
    ("*/**", "alerts"),
    ("logs/**/alerts", "logs/.later/alerts"),
    ("logs/**/alerts", "logs/my-alerts"),
    ("logs/*", "logs/alerts.gz"),
    ("logs/*/*", "logs/alerts"),
    ("logs/*", "far/away/alerts"),
    ("logs/app.log", "logs/alerts"),
]


@pytest.mark.parametrize(("source", "target"), NAMED)
def test_a_file_that_is_named_is_no_sink_before_it_exists_and_after(tree: Path, source: str, target: str) -> None:
    sinks = [f"jsonl:{tree}/{target}"]
    assert is_refused([f"{tree}/{source}"], sinks=sinks)
    os.makedirs(tree / os.path.dirname(target), exist_ok=True)
    (tree / target).touch()
    assert is_refused([f"{tree}/{source}"], sinks=sinks)


@pytest.mark.parametrize(("source", "target"), NOT_NAMED)
def test_a_file_that_is_not_named_is_a_sink(tree: Path, source: str, target: str) -> None:
    sinks = [f"jsonl:{tree}/{target}"]
    assert not is_refused([f"{tree}/{source}"], sinks=sinks)
    os.makedirs(tree / os.path.dirname(target), exist_ok=True)
    (tree / target).touch()
    assert not is_refused([f"{tree}/{source}"], sinks=sinks)


def test_links_that_lead_to_what_does_not_exist_yet(tree: Path) -> None:
    (tree / "logs" / "here").symlink_to(tree / "far" / "alerts")
    (tree / "far" / "there").symlink_to(tree / "logs" / "alerts")
    assert is_refused([f"{tree}/logs/*"], sinks=[f"jsonl:{tree}/far/alerts"])
    assert is_refused([f"{tree}/logs/*"], sinks=[f"jsonl:{tree}/far/there"])
    assert is_refused([f"{tree}/logs/here"], sinks=[f"jsonl:{tree}/far/alerts"])
    assert not is_refused([f"{tree}/logs/*"], sinks=[f"jsonl:{tree}/far/others"])


def test_a_relative_path_counts_from_the_working_directory(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "link")
    assert is_refused(["*"], sinks=["jsonl:alerts"])
    assert is_refused([f"{tree}/logs/*"], sinks=["jsonl:alerts"])
    assert not is_refused(["*"], sinks=["jsonl:../alerts"])


def test_a_named_pipe_that_a_pattern_passes_over_is_a_sink(tree: Path) -> None:
    os.mkfifo(tree / "logs" / "pipe")
    assert not is_refused([f"{tree}/logs/*"], sinks=[f"jsonl:{tree}/logs/pipe"])
    assert is_refused([f"{tree}/logs/pipe"], sinks=[f"jsonl:{tree}/link/pipe"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up its rights and have them back")
def test_a_folder_that_may_not_be_looked_into_is_no_fault() -> None:
    with TemporaryDirectory() as top:
        os.chmod(top, 0o755)
        os.makedirs(f"{top}/logs/web", 0o755)
        os.chmod(f"{top}/logs/web", 0)
        os.seteuid(65534)
        try:
            assert not is_refused([f"{top}/logs/*"], sinks=[f"jsonl:{top}/logs/web/deep/alerts"])
            assert is_refused([f"{top}/logs/*/deep/*"], sinks=[f"jsonl:{top}/logs/web/deep/alerts"])
        finally:
            os.seteuid(0)


def test_the_metrics_file_the_state_and_sockets(tree: Path) -> None:
    assert is_refused([f"{tree}/logs/*"], metrics_file=f"{tree}/link/oddline.prom")
    assert not is_refused([f"{tree}/logs/*.log"], metrics_file=f"{tree}/link/oddline.prom")
    assert is_refused([f"{tree}/logs/**"], state=f"{tree}/link/state")
    assert is_refused([f"{tree}/*/*.sqlite3-wal"], state=f"{tree}/state")
    assert not is_refused([f"{tree}/logs/*"], state=f"{tree}/link/state")
    assert is_refused([f"listen:unix:{tree}/logs/in"], sinks=[f"unix:{tree}/link/in"])
    assert not is_refused([f"listen:unix:{tree}/logs/in"], sinks=[f"unix:{tree}/link/out"])


STEPS = st.sampled_from(["logs", "link", "web", "mail", ".git", "far", "away", "new"])
WILD = STEPS | st.sampled_from(["*", "**", "l*", "?eb", ".*", "*.log"])
LAST = st.sampled_from(["*", "**", "*.log", "a*", ".*", "one.log", "[!a]*"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(WILD, max_size=3),
    LAST,
    st.lists(STEPS, max_size=3),
    st.sampled_from(["one.log", "alerts", ".two.log"]),
)
def test_what_is_refused_is_what_would_be_tailed(
    tree: Path, wild: list[str], last: str, steps: list[str], name: str
) -> None:
    pattern, target = os.path.join(tree, *wild, last), Path(tree, *steps, name)
    made = [folder for folder in (*reversed(target.parents),) if not folder.exists()]
    refused = is_refused([pattern], sinks=[f"jsonl:{target}"])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch()
    key = os.stat(target)
    plain = os.path.exists(pattern) and os.path.samefile(pattern, target)
    is_read = plain or (key.st_dev, key.st_ino) in {found for _, found in matches(pattern)}
    target.unlink()
    for folder in reversed(made):
        folder.rmdir()
    assert refused == is_read


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (lambda folder: ["--sink", f"jsonl:{folder}/alerts"], "would read its own alerts"),
        (lambda folder: ["--sink", "console:", "--scores", folder / "scores"], "would read its own scores"),
    ],
)
def test_the_first_start_is_refused_and_leaves_nothing(
    bundle: Path, tmp_path: Path, more: Callable[[Path], list[object]], words: str
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "app.log").write_bytes(b"".join(made_up_lines(200)))
    options = ["--once", "--from", "start", "-b", bundle, *more(folder)]
    code, line = refusal("tail", f"{folder}/*", *options)
    assert code == 2 and words in line and f"({folder}/*)" in line
    assert os.listdir(folder) == ["app.log"]
