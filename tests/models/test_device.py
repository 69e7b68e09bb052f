import pytest
import torch
from torch import nn

from crafting import needs_bfloat16
from latentlab.common.errors import EnvironmentProblem
from latentlab.models import device as runtime
from latentlab.models.device import mixed_precision, prepare, select_device
from latentlab.params.schema import RuntimeParams


def test_the_seed_makes_random_numbers_repeat():
    runtime = RuntimeParams(seed=7, device="cpu", threads=1)
    prepare(runtime)
    first = torch.rand(3)
    prepare(runtime)

    assert torch.equal(first, torch.rand(3))
    assert torch.get_num_threads() == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(EnvironmentProblem, match="'cuda' is not available here; available: auto"):
        select_device("cuda")


def test_auto_is_a_device_that_computes():
    device = select_device("auto")

    assert (torch.ones(2, device=device) + 1).sum().item() == 4


def kind_of_product(precision):
    with mixed_precision(torch.device("cpu"), precision):
        return nn.Linear(2, 2)(torch.ones(1, 2)).dtype


@needs_bfloat16
@pytest.mark.parametrize(
    ("precision", "kind"),
    [("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)],
)
def test_a_cpu_multiplies_in_the_precision_that_is_asked_for(precision, kind):
    assert kind_of_product(precision) == kind


def test_a_cpu_without_bfloat16_stays_with_float32(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    runtime.supports_bfloat16.cache_clear()
    try:
        assert kind_of_product("bfloat16") == torch.float32
    finally:
        runtime.supports_bfloat16.cache_clear()
