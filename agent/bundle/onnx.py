"""onnxruntime: its import, its sessions, its execution provider."""

import importlib.metadata
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from agent.errors import BundleError, ProviderError

PROVIDERS = ("auto", "cpu", "cuda")


def import_onnxruntime() -> ModuleType:
    """The one installed onnxruntime, imported with telemetry off; a ProviderError where there is none, or two."""
    installed = [name for name in ("onnxruntime", "onnxruntime-gpu") if _is_installed(name)]
    if not installed:
        raise ProviderError(
            "onnxruntime is not installed; install oddline with one of its extras: "
            "pip install 'oddline[cpu]' or 'oddline[gpu]'"
        )
    if len(installed) == 2:
        raise ProviderError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other; "
            "run: pip uninstall -y onnxruntime onnxruntime-gpu, then pip install 'oddline[cpu]' or 'oddline[gpu]'"
        )
    # From 1.29 on onnxruntime reports its use and keeps a device id in the user's cache, unless told before its import.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise ProviderError(f"{installed[0]} is installed but cannot be imported: {error}") from None
    onnxruntime.set_default_logger_severity(3)
    runtime: ModuleType = onnxruntime
    return runtime


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def choose_provider(name: str) -> tuple[str, str]:
    """The provider to use, `cpu` or `cuda`, and a sentence for the user where `auto` had to fall back (else empty)."""
    runtime = import_onnxruntime()
    if name not in PROVIDERS:
        raise ProviderError(f"unknown provider {name!r}; choose one of {', '.join(PROVIDERS)}")
    if name == "cpu":
        return "cpu", ""
    problem = _cuda_problem(runtime)
    if not problem:
        return "cuda", ""
    if name == "cuda":
        raise ProviderError(
            f"provider cuda cannot be used: {problem}; use --provider cpu, or install a CUDA driver and 'oddline[gpu]'"
        )
    return (
        "cpu",
        "" if "CUDAExecutionProvider" not in runtime.get_available_providers() else f"using the CPU: {problem}",
    )


def _cuda_problem(runtime: ModuleType) -> str:
    if "CUDAExecutionProvider" not in runtime.get_available_providers():
        return "this onnxruntime is built without CUDA"
    if not (Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()):
        return "no NVIDIA device is present"
    return ""


def open_session(path: Path, provider: str = "cpu", threads: int = 1, content: bytes | None = None) -> Any:
    """An onnxruntime.InferenceSession of a model file; a BundleError where the file is no usable model.

    content: what was read of the file already; then nothing that it names beside itself is read.
    """
    runtime = import_onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # the arena keeps the largest batch ever seen
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"] if provider == "cuda" else ["CPUExecutionProvider"]
    try:
        session = runtime.InferenceSession(str(path) if content is None else content, options, providers=providers)
    except Exception as error:  # noqa: BLE001 - its exceptions share no base class
        raise BundleError(f"{path} is no model that onnxruntime can run: {first_line(error)}") from None
    if provider == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        raise ProviderError(
            "provider cuda cannot be used: onnxruntime could not start it (driver or CUDA libraries are missing); "
            "use --provider cpu"
        )
    return session


def first_line(error: Exception) -> str:
    """The first line of what an exception says, or its name."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
