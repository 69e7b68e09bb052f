import pytest

from crafting import FOUND
from latentlab.common.errors import EnvironmentProblem, ParamsError
from latentlab.params.load import load_params
from latentlab.params.resolve import resolved_params


@pytest.fixture
def resolve(checkout):
    """The parameters with what stands in `best_params.yaml`."""

    def resolved(text):
        source = checkout.outputs("search") / "best_params.yaml"
        source.parent.mkdir(parents=True)
        source.write_bytes(text if isinstance(text, bytes) else text.encode())
        return resolved_params(checkout, load_params(checkout.params))

    return resolved


def test_each_word_search_becomes_what_was_found(resolve):
    params = resolve(FOUND)

    assert not params.searched
    assert params.train.model.channels == (4,)
    assert params.train.optimizer == "adamw"


def test_before_any_search_it_says_what_to_run(checkout):
    with pytest.raises(EnvironmentProblem, match=r"best_params.yaml is missing; run `dvc repro"):
        resolved_params(checkout, load_params(checkout.params))


@pytest.mark.parametrize("text", ["a: [", "- 1", b"\xff\xfe\xfa"], ids=["yaml", "list", "bytes"])
def test_a_damaged_file_says_what_to_do(resolve, text):
    with pytest.raises(EnvironmentProblem, match=r"is damaged; delete it, and `dvc repro search`"):
        resolve(text)


def test_what_the_search_did_not_find_is_named(resolve):
    with pytest.raises(EnvironmentProblem, match=r"no value for train\.optimizer; run"):
        resolve(FOUND.replace("train.optimizer: adamw\n", ""))


def test_what_does_not_go_with_the_parameters_is_a_mistake(resolve):
    with pytest.raises(ParamsError, match=r"train\.learning_rate: .* run `dvc repro search` again"):
        resolve(FOUND.replace("0.001", "none"))
