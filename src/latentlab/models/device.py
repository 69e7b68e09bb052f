"""Where networks compute: device, threads, seed, deterministic kernels and precision.

This module is in `models` rather than in `common` because it can change results: `dvc.yaml` lists
`models` as a dependency of every stage that computes, but not `common`.
"""

import os
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch

from latentlab.common import startup
from latentlab.common.errors import EnvironmentProblem
from latentlab.common.processes import available_cores, local_world_size
from latentlab.params.schema import RuntimeParams


def prepare(runtime: RuntimeParams) -> torch.device:
    """Set threads, seed and deterministic kernels for this process and return its device."""
    cores_per_process = max(1, available_cores() // local_world_size())
    torch.set_num_threads(cores_per_process if runtime.threads == "auto" else runtime.threads)
    torch.manual_seed(runtime.seed)
    # cuBLAS reads this when it starts; without it deterministic mode rejects matrix products
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # as torch.use_deterministic_algorithms(), which imports torch's compiler for two seconds
    torch.set_deterministic_debug_mode("error")
    # deterministic mode also fills new memory with NaN, which no kernel here reads
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # added at run time
    startup.leave_compiler_out()
    startup.keep_freed_memory()
    return select_device(runtime.device)


def select_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" is CUDA, else MPS, else the CPU."""
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
            f"runtime.device = '{name}' is not available here. Available: auto, {present}"
        )
    return torch.device(name)


def mixed_precision(device: torch.device, precision: str = "auto") -> AbstractContextManager[None]:
    """Return a context that casts to bfloat16 where `precision` asks for it.

    "auto" uses bfloat16 on CUDA only, "bfloat16" also on a CPU that has instructions for it, and
    "float32" never.
    """
    if precision == "float32" or not supports_bfloat16(device):
        return nullcontext()
    if device.type == "cpu" and precision == "auto":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


@cache
def supports_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 itself; emulation is slower than float32."""
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    return device.type == "cuda"
