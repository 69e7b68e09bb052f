import math

import pytest
import torch

from latentlab.data.image_set import DatasetInfo, ImageSet
from latentlab.errors import EnvironmentProblem
from latentlab.params import with_values
from latentlab.params_file import load_params
from latentlab.search.study import Trial, best_of, run_study


@pytest.fixture
def params(repository):
    space = {
        "train.model.channels": {"type": "categorical", "choices": [[4], [4, 8]]},
        "train.model.hidden": {"type": "int", "low": 8, "high": 16},
        "train.learning_rate": {"type": "float", "low": 0.001, "high": 0.01, "log": True},
    }
    return with_values(
        load_params(repository / "params.yaml"),
        {
            "search.trials": 4,
            "search.epochs": 2,
            "search.images": 60,
            "search.space": space,
            "train.model.latent_dim": 2,
            "train.optimizer": "adam",
            "train.weight_decay": 0.0,
        },
    )


INFO = DatasetInfo("shapes", ["a", "b", "c"], [1, 8, 8], {}, [0.5], [0.3], {}, "")


def study(params):
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (120, 1, 8, 8), generator=random, dtype=torch.uint8)
    split = ImageSet(pixels, torch.arange(120) % 3)
    return list(run_study(params, INFO, split, split, torch.device("cpu")))


def test_trials_draw_from_every_range(params):
    trials = study(params)

    assert len(trials) == 4
    for trial in trials:
        assert set(trial.values) == set(params.search.space)
        assert trial.values["train.model.channels"] in ([4], [4, 8])
        assert 8 <= trial.values["train.model.hidden"] <= 16
        assert 0.001 <= trial.values["train.learning_rate"] <= 0.01
        assert trial.validation_loss == min(r["validation/loss"] for r in trial.history)


def test_the_same_seed_gives_the_same_study(params):
    assert study(params) == study(params)


def test_another_seed_gives_another_study(params):
    other = with_values(params, {"runtime.seed": 1})

    assert [t.values for t in study(params)] != [t.values for t in study(other)]


def test_a_value_written_in_train_does_not_bend_the_study(params):
    written = with_values(params, {"train.learning_rate": 0.5})

    assert study(written) == study(params)


def test_an_empty_space_means_no_trials(params):
    assert study(with_values(params, {"search.space": {}})) == []


def test_an_architecture_that_cannot_be_built_is_pruned_with_its_reason(params):
    choices = {"type": "categorical", "choices": [[4, 4, 4, 4, 4]]}
    impossible = with_values(
        params,
        {"search.space": {**params.tree()["search"]["space"], "train.model.channels": choices}},
    )

    trials = study(impossible)

    assert {trial.state for trial in trials} == {"pruned"}
    assert "the image vanishes at convolution 4 of 5" in trials[0].reason
    with pytest.raises(EnvironmentProblem, match="none of 4 trials completed"):
        best_of(trials)


def test_a_trial_that_diverges_fails_and_the_study_goes_on(params):
    too_fast = {"type": "float", "low": 1e30, "high": 1e31}
    space = {**params.tree()["search"]["space"], "train.learning_rate": too_fast}
    diverging = with_values(params, {"search.space": space, "train.optimizer": "sgd"})

    trials = study(diverging)

    assert len(trials) == 4
    assert {trial.state for trial in trials} == {"failed"}
    assert "not finite" in trials[0].reason


def test_the_best_trial_is_the_complete_one_with_the_lowest_loss():
    def trial(number, state, loss):
        return Trial(number, state, "", {}, loss, [])

    trials = [
        trial(0, "complete", 0.3),
        trial(1, "pruned", 0.1),
        trial(2, "complete", 0.2),
        trial(3, "failed", math.inf),
    ]

    assert best_of(trials).number == 2
