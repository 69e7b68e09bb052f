"""Resolving the word `search` by the file that the stage `search` writes."""

import pytest

from crafting import FOUND
from latentlab.common.errors import EnvironmentProblem, ParamsError
from latentlab.params.load import load_params
from latentlab.params.resolve import resolved_params


@pytest.fixture
def resolve(checkout):
    """Return a function that resolves the parameters by the text of best_params.yaml."""

    def resolved(text):
        source = checkout.outputs("search") / "best_params.yaml"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes(text if isinstance(text, bytes) else text.encode())
        return resolved_params(checkout, load_params(checkout.params))

    return resolved


def test_each_word_search_is_replaced_by_the_best_value(resolve):
    params = resolve(FOUND)

    assert not params.searched
    assert params.train.model.channels == (4,)
    assert params.train.optimizer == "adamw"


def test_parameters_without_the_word_need_no_search(resolve, checkout):
    params = resolve(FOUND)

    assert resolved_params(checkout, params) is params


def test_before_a_search_the_error_says_what_to_run(checkout, message):
    with pytest.raises(EnvironmentProblem) as caught:
        resolved_params(checkout, load_params(checkout.params))

    message("params/best values: missing", caught.value)


def test_damaged_and_incomplete_files_are_reported(resolve, message):
    for text in ("a: [", "- 1", b"\xff\xfe\xfa"):
        with pytest.raises(EnvironmentProblem) as caught:
            resolve(text)
        message("params/best values: damaged", caught.value)

    with pytest.raises(EnvironmentProblem) as caught:
        resolve(FOUND.replace("train.optimizer: adamw\n", ""))
    message("params/best values: incomplete", caught.value)


def test_values_that_do_not_fit_the_parameters_are_a_mistake_of_the_user(resolve, message):
    with pytest.raises(ParamsError) as caught:
        resolve(FOUND.replace("adamw", "none"))

    message("params/best values: do not fit", caught.value)
