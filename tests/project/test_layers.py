"""agent < training < export: a layer imports what is below it alone, and the agent runs where the others are not.

Within the agent each room imports what ARCHITECTURE.md lists, in no circle.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import agent

ROOT = Path(agent.__file__).parents[1]  # the checkout, or site-packages where the wheel is tested
TRAINING_ONLY = {"torch", "lightning_fabric", "safetensors", "sklearn", "scipy", "matplotlib"}
EXPORT_ONLY = {"onnx", "onnxscript"}
FORBIDDEN = {
    "agent": {"training", "export"} | TRAINING_ONLY | EXPORT_ONLY,
    "training": {"export"} | EXPORT_ONLY,
    "export": set(),
}
ARCHITECTURE = (Path(__file__).parents[2] / "ARCHITECTURE.md").read_text()
AGENT_MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "agent").rglob("*.py")
)
BLOCKER = """
import importlib, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocker())
for name in {modules!r}:
    importlib.import_module(name)
"""


def imports(code: str) -> Iterator[str]:
    """The top-level packages that code imports, at any depth of it, by name or by importlib with a constant."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            yield from (
                argument.value.split(".")[0]
                for argument in node.args
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
            )


def listed_rooms() -> dict[str, set[str]]:
    """The rooms of the agent in the order of ARCHITECTURE.md, each with those that it may import."""
    table = ARCHITECTURE.partition("| room | what lives there | imports |\n")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[1:]]
    return {room: set(filter(None, re.split(r",\s*", imported))) for room, _, imported in rows}


def room_imports(path: Path) -> set[str]:
    """The rooms of the agent that a module imports from, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        modules = [f"{node.module}.{name}" for name in names] if isinstance(node, ast.ImportFrom) else names
        found |= {parts[1] for module in modules if (parts := module.split("."))[0] == "agent" and len(parts) > 1}
    return found


def circles(graph: dict[str, set[str]]) -> set[str]:
    """What remains of a graph when all that imports nothing that remains is taken away, again and again."""
    left = dict(graph)
    while free := [name for name, imported in left.items() if not imported & left.keys()]:
        for name in free:
            del left[name]
    return set(left)


def imported_modules(package: str) -> dict[str, set[str]]:
    """The modules of a package, each with those that it imports when it is imported itself."""
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (ROOT / package).rglob("*.py")
    }
    graph = {}
    for name, path in names.items():
        found = set()
        for node in _at_import(ast.parse(path.read_text())):
            assert not isinstance(node, ast.ImportFrom) or node.level == 0, f"{path} has a relative import"
            for alias in node.names:
                module = f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
                found |= {module if module in names else module.rpartition(".")[0]} & names.keys()
        graph[name] = found - {name}
    return graph


def _at_import(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports outside of functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _at_import(node)


def run_blocked(modules: list[str], blocked: set[str], then: str = "") -> subprocess.CompletedProcess[str]:
    """Imports modules in a fresh interpreter that finds the same packages but the blocked ones."""
    code = BLOCKER.format(blocked=blocked, modules=modules) + then
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT, check=False
    )


@pytest.mark.parametrize("layer", sorted(FORBIDDEN))
def test_a_layer_imports_nothing_of_those_above_it(layer):
    files = sorted((ROOT / layer).rglob("*.py"))
    assert files
    found = {(path.name, name) for path in files for name in imports(path.read_text()) if name in FORBIDDEN[layer]}
    assert not found


def test_architecture_lists_the_rooms_of_the_agent_from_the_bottom_to_the_top():
    rooms = listed_rooms()
    loose = {path.stem for path in (ROOT / "agent").glob("*.py")} - {"__init__", "errors"}
    assert set(rooms) == loose | {path.parent.name for path in (ROOT / "agent").glob("*/__init__.py")}
    for number, (room, imported) in enumerate(rooms.items()):
        assert imported <= set(list(rooms)[:number]), f"{room} imports what does not stand above it in the table"


@pytest.mark.parametrize("room", listed_rooms())
def test_a_room_imports_what_architecture_lists_and_nothing_else(room):
    paths = [*(ROOT / "agent" / room).rglob("*.py"), *(ROOT / "agent").glob(f"{room}.py")]
    imported = set().union(*map(room_imports, paths)) & listed_rooms().keys() - {room}
    assert imported == listed_rooms()[room]


@pytest.mark.parametrize("layer", sorted(FORBIDDEN))
def test_no_modules_import_each_other_in_a_circle(layer):
    assert not circles(imported_modules(layer))


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == {"a", "b", "c"}


def test_imports_are_found_wherever_they_stand():
    code = "import torch.nn\ndef f():\n    from onnx import helper\n    importlib.import_module('sklearn.metrics')\n"
    assert set(imports(code)) == {"torch", "onnx", "sklearn"}


def test_every_module_of_the_agent_runs_without_training_and_export():
    done = run_blocked(AGENT_MODULES, FORBIDDEN["agent"])
    assert done.returncode == 0, done.stderr


def test_the_blocker_blocks():
    done = run_blocked(["training"], {"training"})
    assert done.returncode != 0 and "training is blocked" in done.stderr


def test_the_agent_makes_no_process_load_torch():
    loaded = "assert not {'torch', 'onnx', 'training', 'export'} & {name.split('.')[0] for name in sys.modules}"
    done = run_blocked(["agent.cli", "agent.commands.command_line", "agent.app.service"], set(), loaded)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["training.cli", "training.synth"])
def test_a_log_can_be_made_up_where_torch_is_not_installed(command):
    done = run_blocked([command], TRAINING_ONLY | EXPORT_ONLY | {"export"})
    assert done.returncode == 0, done.stderr


def test_the_generator_needs_nothing_but_the_standard_library():
    done = run_blocked(["training.synth"], {"numpy", "msgspec", "typer", "yaml", "torch"})
    assert done.returncode == 0, done.stderr


def test_training_without_its_extra_is_refused_in_one_line():
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'safetensors', 'lightning_fabric', 'sklearn'): sys.modules[name] = None\n"
        "from training.cli import main\n"
        "sys.argv = ['training', 'fit', 'log', '--out', 'run']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "pip install 'oddline[cpu,train]'" in done.stderr
