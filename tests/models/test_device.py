import pytest
import torch
from torch import nn

from crafting import needs_bfloat16
from latentlab.common.errors import EnvironmentProblem
from latentlab.models import device
from latentlab.models.device import mixed_precision, prepare, select_device
from latentlab.params.schema import RuntimeParams


def test_the_seed_makes_random_numbers_reproducible():
    runtime = RuntimeParams(seed=7, device="cpu", threads=1)
    prepare(runtime)
    first = torch.rand(3)
    prepare(runtime)

    assert torch.equal(first, torch.rand(3))
    assert torch.get_num_threads() == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_the_error_for_an_unavailable_device_lists_the_available_ones(monkeypatch, message):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(EnvironmentProblem) as raised:
        select_device("cuda")

    message("device/unavailable", raised.value)


def test_auto_selects_a_usable_device():
    assert (torch.ones(2, device=select_device("auto")) + 1).sum().item() == 4


def dtype_of_product(precision):
    with mixed_precision(torch.device("cpu"), precision):
        return nn.Linear(2, 2)(torch.ones(1, 2)).dtype


@needs_bfloat16
def test_a_cpu_uses_bfloat16_only_on_request():
    assert dtype_of_product("auto") == torch.float32
    assert dtype_of_product("float32") == torch.float32
    assert dtype_of_product("bfloat16") == torch.bfloat16


def test_a_cpu_without_bfloat16_instructions_uses_float32(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    device.supports_bfloat16.cache_clear()
    try:
        assert dtype_of_product("bfloat16") == torch.float32
    finally:
        device.supports_bfloat16.cache_clear()
