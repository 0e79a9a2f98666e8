"""Which onnxruntime is used, and on what it runs."""

import importlib.metadata
import sys

import pytest
from helpers.processes import refusal

from agent.bundle.onnx import choose_provider, import_onnxruntime, open_session
from agent.errors import BundleError, ProviderError


@pytest.fixture
def installed(monkeypatch):
    """Makes it look as if these packages alone were installed."""

    def pretend(*names: str) -> None:
        def distribution(name: str) -> object:
            if name not in names:
                raise importlib.metadata.PackageNotFoundError(name)
            return object()

        monkeypatch.setattr(importlib.metadata, "distribution", distribution)

    return pretend


@pytest.fixture
def providers(monkeypatch):
    """Makes it look as if onnxruntime was built with these execution providers."""

    def pretend(*names: str) -> None:
        monkeypatch.setattr(import_onnxruntime(), "get_available_providers", lambda: list(names))

    return pretend


def test_without_onnxruntime_it_is_told_how_to_get_it(installed):
    installed("numpy")
    with pytest.raises(ProviderError, match=r"onnxruntime is not installed; .*'oddline\[cpu\]' or 'oddline\[gpu\]'"):
        import_onnxruntime()


def test_both_packages_at_once_are_refused(installed, call_agent, tmp_path):
    installed("onnxruntime", "onnxruntime-gpu")
    done = call_agent("check", tmp_path)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 6
    assert line.startswith(
        "error: onnxruntime and onnxruntime-gpu are both installed and overwrite each other; run: pip"
    )


@pytest.mark.parametrize("name", ["onnxruntime", "onnxruntime-gpu"])
def test_one_package_is_enough(installed, name):
    installed(name)
    assert import_onnxruntime() is sys.modules["onnxruntime"]


def test_an_onnxruntime_that_cannot_be_imported(installed, monkeypatch):
    installed("onnxruntime-gpu")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ProviderError, match="onnxruntime-gpu is installed but cannot be imported: "):
        import_onnxruntime()


def test_an_unknown_provider(tmp_path):
    code, line = refusal("check", tmp_path, "--provider", "abacus")
    assert code == 6 and "unknown provider 'abacus'; choose one of auto, cpu, cuda" in line


def test_auto_takes_the_cpu_silently_where_there_is_no_cuda(providers):
    providers("CPUExecutionProvider")
    assert choose_provider("auto") == choose_provider("cpu") == ("cpu", "")
    with pytest.raises(ProviderError, match="cuda cannot be used: this onnxruntime is built without CUDA; use --prov"):
        choose_provider("cuda")


def test_auto_says_when_it_had_to_fall_back(providers, monkeypatch):
    providers("CUDAExecutionProvider", "CPUExecutionProvider")
    monkeypatch.setattr("pathlib.Path.exists", lambda _: False)
    assert choose_provider("auto") == ("cpu", "using the CPU: no NVIDIA device is present")
    with pytest.raises(ProviderError, match="no NVIDIA device is present"):
        choose_provider("cuda")
    monkeypatch.setattr("pathlib.Path.exists", lambda _: True)
    assert choose_provider("auto") == choose_provider("cuda") == ("cuda", "")


def test_a_session_runs_on_one_thread_and_without_an_arena(bundle):
    options = open_session(bundle / "encoder.onnx").get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert not options.enable_cpu_mem_arena


def test_a_file_that_is_no_model(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(BundleError, match=r"model\.onnx is no model that onnxruntime can run: "):
        open_session(tmp_path / "model.onnx")
    with pytest.raises(BundleError, match=r"nowhere\.onnx is no model"):
        open_session(tmp_path / "nowhere.onnx")
