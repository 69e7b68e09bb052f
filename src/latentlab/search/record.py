"""The persistent record of a study: an Optuna study in an SQLite file, written only by the driver.

A trial is added when it is sampled, a rung when its trainings finish, and the final state when it
is decided; within each of these steps, the entry that marks it as done is written last. A driver
that was killed replays the study and takes from the record what it need not train again.
`optuna-dashboard` and `optuna.load_study` can read the file.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.files import atomic_path
from latentlab.common.processes import is_alive, this_process
from latentlab.search.objectives import Direction
from latentlab.search.trial import COMPLETE, FAILED, PRUNED, Trial
from latentlab.training.jobs import Outcome

STATES = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}
STATE_NAMES = {state: name for name, state in STATES.items()}
STUDY_NAME = "search"
LOCK_TIMEOUT = 10.0
"""Seconds to wait while another process writes to the database."""


class StudyRecord:
    """Persistent record of a study: its trials, rungs and results, stored in `folder`/study.db.

    `similar` are folders of studies that differ only in their number of trials; their results are
    reused. Raises EnvironmentProblem if a database cannot be read or written, or if another
    process runs the study.
    """

    def __init__(
        self, folder: Path, directions: Sequence[Direction], similar: Iterable[Path] = ()
    ) -> None:
        self.path = folder / "study.db"
        folder.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with database_errors(self.path), _exclusive(folder):
            if not self.path.exists():
                # created under another name: a database with some of its tables cannot be opened
                with atomic_path(self.path) as temporary:
                    temporary.unlink(missing_ok=True)  # left by a process with the same id
                    storage = open_storage(temporary)
                    optuna.create_study(
                        study_name=STUDY_NAME, storage=storage, directions=directions
                    )
            self._storage = open_storage(self.path)
            self._study = optuna.load_study(study_name=STUDY_NAME, storage=self._storage)
            self._study_id = self._storage.get_study_id_from_name(STUDY_NAME)
            self._register_driver()
            self._recorded = {trial.number: trial for trial in self._study.trials}
        self._ids: dict[int, int] = {}
        self._similar = [trial for other in similar for trial in _load_trials(other / "study.db")]

    def __len__(self) -> int:
        return len(self._recorded)

    def __contains__(self, number: int) -> bool:
        return number in self._recorded

    def add_trial(self, trial: Trial, distributions: dict[str, BaseDistribution]) -> None:
        """Add a sampled trial, or check that the recorded one has the same parameters.

        Raises EnvironmentProblem if it has others.
        """
        recorded = self._recorded.get(trial.number)
        if recorded is not None and recorded.params != trial.params:
            raise EnvironmentProblem(
                f"{self.path}: trial {trial.number} has other parameters than this study samples. "
                f"To start a new study, move the folder {self.path.parent} away"
            )
        with database_errors(self.path):
            if recorded is None:
                self._ids[trial.number] = self._create_trial(trial, distributions)
                return
            self._ids[trial.number] = self._storage.get_trial_id_from_study_id_trial_number(
                self._study_id, trial.number
            )

    def _create_trial(self, trial: Trial, distributions: dict[str, BaseDistribution]) -> int:
        """Add a trial that is not recorded and return its id in the database."""
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=trial.params,
            distributions=distributions,
            user_attrs={"values": trial.values},
        )
        trial_id = self._storage.create_new_trial(self._study_id, template)
        if self._storage.get_trial_number_from_id(trial_id) != trial.number:
            raise EnvironmentProblem(
                f"{self.path}: another program added a trial {trial.number}. Only one driver may "
                f"write to a study; to start a new study, move the folder {self.path.parent} away"
            )
        return trial_id

    def outcomes(self, number: int, epochs: int) -> list[Outcome] | None:
        """Return the outcomes of a trial after `epochs` epochs that an earlier run recorded."""
        return _outcomes(self._recorded[number], epochs) if number in self._recorded else None

    def similar_outcomes(self, trial: Trial, epochs: int) -> list[Outcome] | None:
        """Return the outcomes after `epochs` epochs that a similar study recorded for a trial."""
        same = (each for each in self._similar if each.number == trial.number)
        matches = (_outcomes(each, epochs) for each in same if each.params == trial.params)
        return next(filter(None, matches), None)

    def add_rung(
        self, number: int, epochs: int, outcomes: list[Outcome], result: float | None
    ) -> None:
        """Add the outcomes of a trial after `epochs` epochs.

        `result` is the value of the first objective, or None if a training failed.
        """
        entry = [asdict(outcome) for outcome in outcomes]
        with database_errors(self.path):
            if result is not None:  # shown by optuna-dashboard
                self._storage.set_trial_intermediate_value(self._ids[number], epochs, result)
            # last, because it marks the rung as done
            self._storage.set_trial_user_attr(self._ids[number], f"epoch {epochs}", entry)

    def final_state(self, number: int) -> tuple[str, str] | None:
        """Return the state and reason of a trial that ended in an earlier run."""
        recorded = self._recorded.get(number)
        if recorded is None or not recorded.state.is_finished():
            return None
        return STATE_NAMES[recorded.state], recorded.user_attrs.get("reason", "")

    def end_trial(self, trial: Trial) -> None:
        """Write the final state of a trial, unless an earlier run did."""
        if self.final_state(trial.number):
            return
        values = trial.results if trial.state == COMPLETE else None
        with database_errors(self.path):
            if trial.reason:
                self._storage.set_trial_user_attr(self._ids[trial.number], "reason", trial.reason)
            self._storage.set_trial_state_values(
                self._ids[trial.number], STATES[trial.state], values
            )

    def release(self) -> None:
        """Remove the entry of this process as the driver of the study."""
        with database_errors(self.path):
            self._study.set_user_attr("driver", None)

    def _register_driver(self) -> None:
        """Enter this process as the driver; raise EnvironmentProblem if another one is alive."""
        driver: dict[str, Any] | None = self._study.user_attrs.get("driver")
        here = this_process()
        other = driver and driver["host"] == here["host"] and driver["pid"] != here["pid"]
        if driver and other and is_alive(driver["pid"], driver.get("started")):
            raise EnvironmentProblem(
                f"{self.path}: process {driver['pid']} is already running this study. Wait until "
                "it ends, or stop it"
            )
        self._study.set_user_attr("driver", here)


def open_storage(path: Path) -> optuna.storages.RDBStorage:
    """Return Optuna's storage in an SQLite file.

    The file is opened by path, because a URL would need escapes for some file names.
    """

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=LOCK_TIMEOUT, check_same_thread=False)

    return optuna.storages.RDBStorage(
        "sqlite://", engine_kwargs={"creator": connect, "poolclass": NullPool}
    )


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Turn errors of the database into EnvironmentProblem with a one-line message."""
    try:
        yield
    except optuna.exceptions.UpdateFinishedTrialError as error:
        raise EnvironmentProblem(
            f"{path}: another process, perhaps on another machine, is running this study too. Stop "
            "one of them and run again"
        ) from error
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError, KeyError, OSError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:  # Optuna and SQLAlchemy wrap the error of SQLite
            cause = cause.__cause__
        raise EnvironmentProblem(
            f"{path}: the study cannot be read or written: {str(cause).splitlines()[0]}. Free disk "
            "space, or close the program that locks the file, and run again; recorded results are "
            "not lost"
        ) from error


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder, where the operating system supports it."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _load_trials(path: Path) -> list[FrozenTrial]:
    """Return the trials of a record, which another process may be writing."""
    if not path.is_file():
        return []
    with database_errors(path):
        return optuna.load_study(study_name=STUDY_NAME, storage=open_storage(path)).trials


def _outcomes(trial: FrozenTrial, epochs: int) -> list[Outcome] | None:
    entry = trial.user_attrs.get(f"epoch {epochs}")
    return entry and [Outcome(**outcome) for outcome in entry]
