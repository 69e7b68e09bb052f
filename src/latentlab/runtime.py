"""Where computation runs, and the seeds that make it repeatable."""

import ctypes
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch

from latentlab import world
from latentlab.errors import EnvironmentProblem
from latentlab.params.schema import RuntimeParams

# parameters of mallopt(3)
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3


def prepare(runtime: RuntimeParams) -> torch.device:
    """Set threads, seed and deterministic kernels for this process; return the device to use."""
    threads = runtime.threads
    if threads == "auto":  # processes that torchrun starts share the cores
        threads = max(1, available_cores() // world.local_size())
    torch.set_num_threads(threads)
    torch.manual_seed(runtime.seed)
    # read by cuBLAS when it starts; without it deterministic mode refuses matrix products
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # use_deterministic_algorithms() is the same, but imports torch's compiler: three seconds
    torch.set_deterministic_debug_mode("error")
    # deterministic mode also fills new memory with NaN, which no kernel here reads
    torch.utils.deterministic.fill_uninitialized_memory = False
    _leave_compiler_out()
    _keep_freed_memory()
    return select_device(runtime.device)


def _leave_compiler_out() -> None:
    """Let optimisers start without torch's compiler: more than two seconds, and not used.

    Methods of `Optimizer` are marked as none of the compiler's business, and torch imports it to
    learn how to leave them alone. This is the mark it would find after that (torch/_compile.py).
    """
    for method in vars(torch.optim.Optimizer).values():
        if (function := getattr(method, "__wrapped__", None)) is not None:
            function.__dict__.setdefault("__dynamo_disable", function)


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed instead of giving large blocks back to the system.

    Every step frees and takes the same blocks: otherwise each page of them is a page fault, and
    those are a fifth of the time of a small network.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def select_device(name: str) -> torch.device:
    """The device called `name`; "auto" is CUDA, else MPS, else the CPU."""
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind, present in available.items() if present)
    if not available[name]:
        present = ", ".join(kind for kind, there in available.items() if there)
        raise EnvironmentProblem(
            f"runtime.device = '{name}' is not available here; available: auto, {present}"
        )
    return torch.device(name)


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def mixed_precision(device: torch.device, precision: str = "auto") -> AbstractContextManager:
    """Autocast to bfloat16, or nothing.

    "auto" is bfloat16 on CUDA alone, "bfloat16" also on a CPU that has instructions for it,
    "float32" nowhere.
    """
    if precision == "float32" or not multiplies_bfloat16(device):
        return nullcontext()
    if device.type == "cpu" and precision == "auto":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


@cache
def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether it does so itself: where it is emulated, float32 is faster."""
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    return device.type == "cuda"
