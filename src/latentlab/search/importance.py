"""What decides the result of a trial."""

import warnings

import optuna
from optuna.trial import FrozenTrial, TrialState

from latentlab.params.studies import StudyParams

FEWEST = 4
"""Trials that say anything about what decides a result."""

Results = dict[int, float]
"""Of the first objective, by the number of the trial."""


def importances(view: optuna.Study, settings: StudyParams) -> tuple[dict[str, float], int]:
    """The share of each range in the variance of the first objective, by PED-ANOVA.

    Trials are compared after equally many epochs, which are returned too: the deepest rung that
    half of them reached. Empty where too few trials say anything.
    """
    trials = view.get_trials(deepcopy=False)
    reached = _results_by_epochs(trials, settings.epochs)
    built = set().union(*reached.values())
    enough = max(len(built) / 2, FEWEST)
    deep = [epochs for epochs, results in reached.items() if len(results) >= enough]
    if not deep:
        return {}, 0
    epochs = max(deep)
    direction = next(iter(settings.objectives.values()))
    judged = _judged(trials, reached[epochs], direction)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where nothing varies; then none is important
        shares = optuna.importance.get_param_importances(judged)
    varied = _varied(judged)
    return {name: share if name in varied else 0.0 for name, share in shares.items()}, epochs


def _results_by_epochs(trials: list[FrozenTrial], epochs: int) -> dict[int, Results]:
    """What trials had reached after each rung, and after all `epochs`."""
    reached: dict[int, Results] = {}
    for trial in trials:
        for rung, value in trial.intermediate_values.items():
            reached.setdefault(rung, {})[trial.number] = value
        if trial.state == TrialState.COMPLETE:
            reached.setdefault(epochs, {})[trial.number] = trial.values[0]
    return reached


def _judged(trials: list[FrozenTrial], results: Results, direction: str) -> optuna.Study:
    """A study of complete trials with these results."""
    judged = optuna.create_study(direction=direction)
    for trial in trials:
        if trial.number in results:
            complete = optuna.trial.create_trial(
                params=trial.params,
                distributions=trial.distributions,
                value=results[trial.number],
            )
            judged.add_trial(complete)
    return judged


def _varied(study: optuna.Study) -> set[str]:
    """The parameters of which trials have more than one value."""
    values: dict[str, set[str]] = {}
    for trial in study.trials:
        for name, value in trial.params.items():
            values.setdefault(name, set()).add(str(value))
    return {name for name, drawn in values.items() if len(drawn) > 1}
