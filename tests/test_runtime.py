import pytest
import torch

from latentlab.errors import EnvironmentProblem
from latentlab.params.schema import RuntimeParams
from latentlab.runtime import prepare, select_device


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
