"""Parameter importances of a study."""

import warnings

import optuna
from optuna.trial import FrozenTrial, TrialState

from latentlab.params.studies import StudyParams
from latentlab.search.objectives import Direction

MIN_TRIALS = 4
"""The smallest number of trials for which importances are computed."""

Results = dict[int, float]
"""Values of the first objective by trial number."""


def importances(study: optuna.Study, settings: StudyParams) -> tuple[dict[str, float], int]:
    """Return the importance of each range for the first objective, and the epochs of the results.

    Computes PED-ANOVA (Watanabe et al., 2023, https://arxiv.org/abs/2304.10255). Trials are
    compared after equally many epochs: at the highest rung that at least half of the trials
    reached. Ranges without variation get 0, where Optuna would attribute noise to them. Returns
    `({}, 0)` if fewer than `MIN_TRIALS` trials reached a rung.
    """
    trials = study.get_trials(deepcopy=False)
    results_by_epochs = _results_by_epochs(trials, settings.epochs)
    trained = set().union(*results_by_epochs.values())
    required = max(len(trained) / 2, MIN_TRIALS)
    sufficient = [
        epochs for epochs, results in results_by_epochs.items() if len(results) >= required
    ]
    if not sufficient:
        return {}, 0
    epochs = max(sufficient)
    direction = next(iter(settings.objectives.values()))
    comparison = _study_of(trials, results_by_epochs[epochs], direction)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns if no parameter varies
        shares = optuna.importance.get_param_importances(comparison)
    varied = _varied_params(comparison)
    return {name: share if name in varied else 0.0 for name, share in shares.items()}, epochs


def _results_by_epochs(trials: list[FrozenTrial], epochs: int) -> dict[int, Results]:
    """Return the results after each rung, and after all `epochs`."""
    results: dict[int, Results] = {}
    for trial in trials:
        for rung, value in trial.intermediate_values.items():
            results.setdefault(rung, {})[trial.number] = value
        if trial.state == TrialState.COMPLETE:
            results.setdefault(epochs, {})[trial.number] = trial.values[0]
    return results


def _study_of(trials: list[FrozenTrial], results: Results, direction: Direction) -> optuna.Study:
    """Return a study in which the trials in `results` are complete with these values."""
    study = optuna.create_study(direction=direction)
    for trial in trials:
        if trial.number in results:
            complete = optuna.trial.create_trial(
                params=trial.params,
                distributions=trial.distributions,
                value=results[trial.number],
            )
            study.add_trial(complete)
    return study


def _varied_params(study: optuna.Study) -> set[str]:
    """Return the parameters that have more than one value in the study."""
    values: dict[str, set[str]] = {}
    for trial in study.trials:
        for name, value in trial.params.items():
            values.setdefault(name, set()).add(str(value))
    return {name for name, distinct in values.items() if len(distinct) > 1}
