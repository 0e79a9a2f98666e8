"""What the installed distribution is: its parts, its commands, what it needs."""

import importlib.metadata
import os
import re
from pathlib import Path

import pytest

import agent

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed() -> importlib.metadata.Distribution:
    """The distribution that is installed; without one the tests skip, or fail under ODDLINE_REQUIRE_ALL=1."""
    try:
        return importlib.metadata.distribution("oddline")
    except importlib.metadata.PackageNotFoundError:
        missing = pytest.fail if os.environ.get("ODDLINE_REQUIRE_ALL") == "1" else pytest.skip
        missing("oddline is not installed; make test does it")


def needs(installed: importlib.metadata.Distribution, extra: str | None) -> set[str]:
    """The names of what an extra, or none, requires."""
    wanted = [one for one in installed.requires or [] if ("extra ==" in one) == (extra is not None)]
    return {re.match(r"[\w.-]+", one)[0].lower() for one in wanted if extra is None or f"'{extra}'" in one}


def test_the_tests_run_on_what_is_installed(installed):
    assert Path(agent.__file__) == Path(installed.locate_file("agent/__init__.py"))


def test_the_agent_needs_few_things_and_no_training(installed):
    assert needs(installed, None) == {"numpy", "watchdog", "typer", "msgspec", "pyyaml", "google-re2", "zstandard"}
    assert needs(installed, "cpu") == {"onnxruntime"}
    assert needs(installed, "gpu") == {"onnxruntime-gpu"}
    assert {"torch", "onnx"} <= needs(installed, "train")


def test_the_commands_exist(installed):
    scripts = {entry.name: entry for entry in installed.entry_points if entry.group == "console_scripts"}
    assert scripts.keys() == {"agent", "export", "training", "oddline"}
    for entry in scripts.values():
        assert callable(entry.load())


def test_the_distribution_holds_the_three_packages_and_nothing_else(installed):
    tops = {file.parts[0] for file in installed.files if file.suffix == ".py"}
    assert tops == {"agent", "training", "export"}


def test_the_embedded_bundle_is_in_it(installed):
    names = {str(file) for file in installed.files}
    assert {"agent/bundles/default/manifest.json", "agent/bundles/default/tokenizer.json"} <= names
    assert any(name.startswith("agent/bundles/default/") and name.endswith(".onnx") for name in names)


def test_its_types_are_for_others_too(installed):
    """PEP 561: a marker in each package."""
    assert {"agent/py.typed", "training/py.typed", "export/py.typed"} <= {str(file) for file in installed.files}


def test_the_licence_is_in_it(installed):
    assert any(file.name == "LICENSE" for file in installed.files)
    assert installed.metadata["License-Expression"] == "Apache-2.0"


def test_the_versions_agree(installed):
    assert installed.version == agent.__version__


def test_every_requirement_is_pinned(installed):
    text = (ROOT / "constraints.txt").read_text()
    pinned = {name.lower().replace("_", "-") for name in re.findall(r"(?m)^([\w.-]+)==", text)}
    wanted = needs(installed, None).union(*(needs(installed, extra) for extra in ("cpu", "train", "dev")))
    assert wanted <= pinned


def test_every_requirement_is_explained(installed):
    text = (ROOT / "docs" / "dependencies.md").read_text().lower()
    wanted = needs(installed, None).union(*(needs(installed, extra) for extra in ("cpu", "gpu", "train", "dev")))
    assert not {name for name in wanted if f"| {name} |" not in text}
