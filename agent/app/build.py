"""Builds what a configuration asks for, and checks it before anything of a running agent changes."""

import errno
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.alerting.echo_guard import EchoGuard, new_key
from agent.alerting.notices import Notices
from agent.alerting.pipeline import Pipeline
from agent.app.loop_check import refuse_loops
from agent.bundle.bundle import Bundle
from agent.bundle.onnx import choose_provider
from agent.config import AgentConfig
from agent.delivery.sinks import Sink, open_sink
from agent.delivery.workers import check_names
from agent.errors import BundleError, ConfigError, SourceError, blamed_on
from agent.host.trust import real_path, require_appendable
from agent.scorefile.writer import JsonLines
from agent.scoring.engine import ScoringEngine
from agent.scoring.settings import ScoringSettings
from agent.state.store import State
from agent.text.lines import LineSplitter

_LOG = logging.getLogger(__name__)
_MOST_TRIED = 1000  # lines
DEFAULT_BUNDLE = Path(__file__).parents[1] / "bundles" / "default"


@dataclass(frozen=True)
class Setup:
    """A configuration with the pipeline and the sinks that it asks for; the sinks open nothing before they are used."""

    config: AgentConfig
    pipeline: Pipeline
    sinks: list[Sink]


def read_config(load: Callable[[], AgentConfig], scores: JsonLines | None) -> AgentConfig:
    """The configuration that `load` reads, checked as check_inputs does; whatever it leads to is an OddlineError."""
    with blamed_on("the configuration", ConfigError):
        config = load()
        check_inputs(config, scores)
        refuse_untrusted(config)
        return config


def prepare(config: AgentConfig, guard: EchoGuard, notices: Notices | None = None) -> Setup:
    """Builds what a configuration asks for; an OddlineError says what of it cannot be had."""
    with blamed_on("the configuration", ConfigError):
        sinks = [open_sink(url, socket.gethostname(), guard.seal) for url in config.sinks]
        check_names(sinks)
    with blamed_on(f"bundle {config.bundle}", BundleError):
        bundle = load_bundle(config.bundle, config.provider)
        _try_out(bundle, config.scoring_settings())
        pipeline = Pipeline(bundle, config.scoring_settings(), config.alert_settings(), guard, notices)
    return Setup(config, pipeline, sinks)


def _try_out(bundle: Bundle, settings: ScoringSettings) -> None:
    """Scores some lines apart from all else, since a model may break only when it is used."""
    count = min(bundle.manifest.window.size, _MOST_TRIED) + 1
    if block := LineSplitter("", 0, 1).feed(b"a line to try a model with\n" * count):
        ScoringEngine(bundle, settings).score(block)


def require_sources(config: AgentConfig) -> None:
    """A SourceError where no log is named."""
    if not config.sources:
        raise SourceError("no log to read; name one, or list it under `sources` in the configuration")


def check_inputs(config: AgentConfig, scores: JsonLines | None) -> None:
    """A SourceError where no log is named; other errors where the agent would read what it writes, as refuse_loops."""
    require_sources(config)
    refuse_loops(config, scores)


def refuse_untrusted(config: AgentConfig) -> None:
    """A ConfigError where a file of alerts or metrics is, or may come to be, what another user made of it."""
    for url in config.sinks:
        kind, _, path = url.partition(":")
        with _refused(url):
            if kind == "jsonl" and path != "-":
                require_appendable(path)
    if config.metrics_file is not None:
        with _refused(f"metrics_file {config.metrics_file}"):
            real_path(config.metrics_file)


@contextmanager
def _refused(what: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        if error.errno == errno.EPERM:
            raise ConfigError(f"{what} cannot be written: {error.strerror}; choose another file") from None
    except OSError:  # which may pass, and is told when it is written to
        pass


def refuse_change(present: AgentConfig, config: AgentConfig) -> None:
    """A ConfigError where another configuration wants what cannot change while the agent runs."""
    for key in ("state", "metrics", "metrics_file"):
        if getattr(config, key) != getattr(present, key):
            raise ConfigError(f"{key} cannot change while the agent runs; restart it")


def load_bundle(name: str, provider: str) -> Bundle:
    """The bundle of this name, `default` or a folder, on the provider wanted; a fall-back is logged."""
    return Bundle.load(bundle_folder(name), available_provider(provider))


def bundle_folder(name: str) -> Path:
    """Where the bundle of this name is."""
    return DEFAULT_BUNDLE if name == "default" else Path(name)


def available_provider(name: str) -> str:
    """The provider, cpu or cuda, that this choice comes to; a fall-back is logged."""
    chosen, word = choose_provider(name)
    if word:
        _LOG.warning("%s", word)
    return chosen


def guard_key(state: State) -> bytes:
    """The secret by which alerts of ours are recognised, as the state keeps it; made where it has none."""
    key = state.blob("guard")
    if key is None:
        key = new_key()
        state.commit(blobs=[("guard", key)])
    return key
