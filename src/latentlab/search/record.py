"""The durable record of a study: an Optuna study in SQLite, written by the driver alone.

A trial is entered when it was drawn, each rung when its trainings are done, and the end when it was
decided; what says so is written last. A driver that was killed is run again from the start, and
finds here what it need not train once more. `optuna-dashboard` and `optuna.load_study` read it too.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.files import atomic_path
from latentlab.common.processes import is_alive, this_process
from latentlab.search.trial import COMPLETE, FAILED, PRUNED, Trial
from latentlab.training.jobs import Outcome

STATES = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}
NAMES = {state: name for name, state in STATES.items()}
NAME = "search"
SECONDS_TO_WAIT = 10.0
"""For somebody else who writes to the database."""


class StudyRecord:
    """What a study has reached, in `folder`/study.db.

    What the studies in the folders `similar` have reached, which differ from it in nothing but the
    number of trials, need not be trained again. EnvironmentProblem where a database cannot be read
    or written, or where another process runs the study.
    """

    def __init__(self, folder: Path, directions: list[str], similar: Iterable[Path] = ()) -> None:
        self.path = folder / "study.db"
        folder.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with guarded(self.path), _alone(folder):
            if not self.path.exists():
                # made elsewhere: a kill amid its tables would leave what nobody can open
                with atomic_path(self.path) as temporary:
                    temporary.unlink(missing_ok=True)  # of a process of the same number
                    storage = open_storage(temporary)
                    optuna.create_study(study_name=NAME, storage=storage, directions=directions)
            self._storage = open_storage(self.path)
            self._study = optuna.load_study(study_name=NAME, storage=self._storage)
            self._study_id = self._storage.get_study_id_from_name(NAME)
            self._refuse_a_second_driver()
            self._known = {trial.number: trial for trial in self._study.trials}
        self._ids: dict[int, int] = {}
        self._lent = [trial for other in similar for trial in _trials_of(other / "study.db")]

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, number: int) -> bool:
        return number in self._known

    def begin(self, trial: Trial, distributions: dict[str, BaseDistribution]) -> None:
        """Enter a trial that was drawn; one that is there must have been drawn the same."""
        known = self._known.get(trial.number)
        if known is not None and known.params != trial.drawn:
            raise EnvironmentProblem(
                f"{self.path} has another trial {trial.number} than this study draws; "
                "move its folder away to start anew"
            )
        with guarded(self.path):
            if known is None:
                self._ids[trial.number] = self._enter(trial, distributions)
                return
            self._ids[trial.number] = self._storage.get_trial_id_from_study_id_trial_number(
                self._study_id, trial.number
            )

    def _enter(self, trial: Trial, distributions: dict[str, BaseDistribution]) -> int:
        """Enter a trial that is not there; its id. Nobody else may enter any."""
        entered = self._storage.create_new_trial(self._study_id, _entry(trial, distributions))
        number = self._storage.get_trial_number_from_id(entered)
        if number != trial.number:
            raise EnvironmentProblem(
                f"somebody else has added a trial {trial.number} to {self.path}; one driver alone "
                "may; move its folder away to start anew"
            )
        return entered

    def outcomes(self, number: int, epochs: int) -> list[Outcome] | None:
        """What the trainings of a trial reached in an earlier run, after so many epochs."""
        return _outcomes(self._known[number], epochs) if number in self._known else None

    def lent(self, trial: Trial, epochs: int) -> list[Outcome] | None:
        """What the trainings of a trial reached in a study like this one, after so many epochs."""
        same = (each for each in self._lent if each.number == trial.number)
        found = (_outcomes(each, epochs) for each in same if each.params == trial.drawn)
        return next(filter(None, found), None)

    def reach(
        self, number: int, epochs: int, outcomes: list[Outcome], result: float | None
    ) -> None:
        """Enter what the trainings of a trial have reached after so many epochs.

        `result` is that of the first objective, None where a training failed.
        """
        entry = [asdict(outcome) for outcome in outcomes]
        with guarded(self.path):
            if result is not None:  # for the dashboard
                self._storage.set_trial_intermediate_value(self._ids[number], epochs, result)
            # last: what is here is not done again
            self._storage.set_trial_user_attr(self._ids[number], f"epoch {epochs}", entry)

    def ended(self, number: int) -> tuple[str, str] | None:
        """The state and the reason of a trial that ended in an earlier run."""
        known = self._known.get(number)
        if known is None or not known.state.is_finished():
            return None
        return NAMES[known.state], known.user_attrs.get("reason", "")

    def end(self, trial: Trial) -> None:
        """Enter how a trial ended, once."""
        if self.ended(trial.number):
            return
        values = trial.results if trial.state == COMPLETE else None
        with guarded(self.path):
            if trial.reason:
                self._storage.set_trial_user_attr(self._ids[trial.number], "reason", trial.reason)
            self._storage.set_trial_state_values(
                self._ids[trial.number], STATES[trial.state], values
            )

    def release(self) -> None:
        """Say that nobody runs the study any more."""
        with guarded(self.path):
            self._study.set_user_attr("driver", None)

    def _refuse_a_second_driver(self) -> None:
        driver, here = self._study.user_attrs.get("driver"), this_process()
        elsewhere = driver and driver["host"] == here["host"] and driver["pid"] != here["pid"]
        if elsewhere and is_alive(driver["pid"], driver.get("started")):
            raise EnvironmentProblem(
                f"process {driver['pid']} runs this study already; wait for it, or end it"
            )
        self._study.set_user_attr("driver", here)


def open_storage(path: Path) -> optuna.storages.RDBStorage:
    """Optuna's storage in a file of any name: none of it is read as part of an address."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=SECONDS_TO_WAIT, check_same_thread=False)

    return optuna.storages.RDBStorage(
        "sqlite://", engine_kwargs={"creator": connect, "poolclass": NullPool}
    )


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Turn what the database says into one message."""
    try:
        yield
    except optuna.exceptions.UpdateFinishedTrialError as fault:
        raise EnvironmentProblem(
            f"somebody else runs the study {path} too, perhaps on another machine; end one of the "
            "two, and run again"
        ) from fault
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError, KeyError, OSError) as fault:
        cause = fault.__cause__ or fault
        raise EnvironmentProblem(
            f"the study {path} cannot be used: {str(cause).splitlines()[0]}; free the "
            "disk, or close what holds the file, and run again: nothing that it has is lost"
        ) from fault


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time look who drives a study, and drive it; where the system can."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _trials_of(path: Path) -> list[FrozenTrial]:
    """The trials of a record that somebody else may be writing."""
    if not path.is_file():
        return []
    with guarded(path):
        return optuna.load_study(study_name=NAME, storage=open_storage(path)).trials


def _outcomes(entry: FrozenTrial, epochs: int) -> list[Outcome] | None:
    outcomes = entry.user_attrs.get(f"epoch {epochs}")
    return outcomes and [Outcome(**outcome) for outcome in outcomes]


def _entry(trial: Trial, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    return optuna.trial.create_trial(
        state=TrialState.RUNNING,
        params=trial.drawn,
        distributions=distributions,
        user_attrs={"values": trial.values},
    )
