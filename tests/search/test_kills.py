"""A search that is killed repeatedly gives the same results as one that is not.

These tests use real processes and signals. The driver is killed alone, as by a user, and with its
workers, as when a container is stopped; single workers are killed, as when memory runs out.
"""

import csv
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import mlflow
import pytest

from crafting import opened_by_optuna, write_pictures
from latentlab.params.yaml_io import read_yaml

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="workers are found in /proc"),
    # SQLAlchemy's, for a query of MLflow's
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

TRIALS = 24
SEARCH = {
    "trials": TRIALS,
    "batch": 4,
    "workers": 2,
    "epochs": 4,
    "min_epochs": 1,
    "reduction_factor": 2,
    "space": {
        # no network can be built with the last choice
        "train.model.channels": {
            "type": "categorical",
            "choices": [[4], [4, 8], [8], [4, 4, 4, 4, 4]],
        },
        "train.model.hidden": {"type": "int", "low": 4, "high": 32},
        "train.learning_rate": {"type": "float", "low": 0.001, "high": 0.05, "log": True},
    },
}
TRAIN = {"learning_rate": "search", "optimizer": "adam", "weight_decay": 0.0, "batch_size": 2}
MODEL = {"channels": "search", "hidden": "search", "latent_dim": 2}

# appended to training/loop.py: logs each epoch, and makes trainings slow enough to be killed
COUNT = """


def _count(training, epoch, train_epoch=Training.train_epoch):
    import time

    time.sleep(0.3)
    terms = train_epoch(training, epoch)
    with open("epochs.log", "a") as log:
        log.write(f"{training.checkpoint._path.stem} {epoch}\\n")
    return terms


Training.train_epoch = _count
"""

WORKER, DRIVER, ALL = "worker", "driver", "all"


class Checkout:
    """A checkout with its own copy of the code, which tests can edit."""

    def __init__(self, root):
        self.root = root
        self.kills = Counter()
        self.again = []
        """Epochs that were trained although they were recorded: (trial, epoch)."""
        self._process = None
        self._random = random.Random(0)

    @property
    def log(self):
        """The file with the output of all processes."""
        return self.root / "output.log"

    @property
    def record(self):
        return next(self.root.glob(".latentlab/studies/search-*/study.db"), None)

    @property
    def outputs(self):
        """The content of all output files of the search, by path."""
        folder = self.root / "outputs" / "search"
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }

    def edit(self, **changes):
        """Change values of the section `search`."""
        path = self.root / "params.yaml"
        tree = json.loads(path.read_text())
        tree["search"] |= changes
        path.write_text(json.dumps(tree))

    def start(self, verb="search"):
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MLFLOW_", "DVC_", "LATENTLAB_"))
        }
        environment |= {"PYTHONPATH": str(self.root / "src"), "OMP_NUM_THREADS": "1"}
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [Path(sys.executable).with_name("latentlab"), verb],
                cwd=self.root,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def finish(self):
        """Wait until the process exits successfully."""
        code = self._process.wait()
        assert code == 0, self.log.read_text()

    def run(self, verb="search"):
        self.start(verb)
        self.finish()

    def stop(self):
        """Kill processes that a failed test left."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def kill(self, victim, rungs, seconds):
        """Kill `victim` some seconds after so many more rungs are recorded."""
        target = self.progress() + rungs
        self._wait_until(lambda: self.progress() >= target)
        time.sleep(seconds)
        if victim == WORKER:
            self._wait_until(self._kill_a_worker)
        else:
            (os.killpg if victim == ALL else os.kill)(self._process.pid, signal.SIGKILL)
            assert self._process.wait() == -signal.SIGKILL
        self.kills[victim] += 1

    def interrupt(self, rungs):
        """Send SIGINT to all processes after so many rungs; return the driver's exit code.

        The driver, which ends the workers, is the last one to receive the signal. Returns when all
        processes have exited.
        """
        self._wait_until(lambda: self.progress() >= rungs)
        os.kill(self._process.pid, signal.SIGSTOP)
        os.killpg(self._process.pid, signal.SIGINT)
        time.sleep(1)
        os.kill(self._process.pid, signal.SIGCONT)
        code = self._process.wait()
        while True:
            try:
                os.killpg(self._process.pid, 0)
            except ProcessLookupError:
                return code
            time.sleep(0.01)

    def _kill_a_worker(self):
        workers = self.workers()
        if not workers:
            return False
        try:
            os.kill(self._random.choice(workers), signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def _wait_until(self, condition):
        while not condition():
            assert self._process.poll() is None, self.log.read_text()
            time.sleep(0.01)

    def progress(self):
        """Return the number of recorded rungs."""
        return sum(len(rungs) for rungs in self.recorded().values())

    def recorded(self):
        """Return the recorded rungs of each trial."""
        if self.record is None:
            return {}
        rungs = {}
        query = (
            "SELECT number, key FROM trial_user_attributes JOIN trials USING (trial_id) "
            "WHERE key LIKE 'epoch %'"
        )
        with closing(sqlite3.connect(f"file:{self.record}?mode=ro", uri=True)) as database:
            try:
                rows = database.execute(query).fetchall()
            except sqlite3.OperationalError:  # its tables are being created
                return {}
        for number, key in rows:
            rungs.setdefault(number, []).append(int(key.split()[1]))
        return rungs

    def trained(self):
        """Return all epochs that were trained, in their order: (trial, epoch)."""
        log = self.root / "epochs.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [(int(line.split("-")[1]), int(line.split()[1])) for line in lines]

    def workers(self):
        """Return the ids of the workers: children of the fork server that the driver started."""
        parents, servers = {}, []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                state, parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:2]
                is_server = b"forkserver" in (folder / "cmdline").read_bytes()
            except OSError:  # the process has ended
                continue
            if state != "Z":
                parents[int(folder.name)] = int(parent)
            if is_server and int(parent) == self._process.pid:
                servers.append(int(folder.name))
        return [pid for pid, parent in parents.items() if parent in servers]

    def run_with_kills(self, kills, delete_record=False):
        """Run the search, and run it again after each kill, perhaps without its record."""
        known, trained = {}, 0
        self.start()
        for victim, rungs, seconds in kills:
            self.kill(victim, rungs, seconds)
            if victim != WORKER:
                self._account(known, trained)
                known, trained = self.recorded(), len(self.trained())
                if delete_record:
                    shutil.rmtree(self.record.parent)
                self.start()
        self.finish()
        self._account(known, trained)

    def _account(self, known, trained):
        """Note epochs that were trained although they were in the record `known` at the start."""
        self.again += [
            (trial, epoch)
            for trial, epoch in self.trained()[trained:]
            if epoch <= max(known.get(trial, [0]))
        ]

    @property
    def client(self):
        return mlflow.MlflowClient(f"sqlite:///{self.root / 'mlflow.db'}")

    def searches(self):
        """Return the MLflow runs of the search."""
        experiment = self.client.get_experiment_by_name("latentlab/shapes")
        runs = self.client.search_runs(
            [experiment.experiment_id],
            "tags.kind = 'stage' and tags.stage = 'search'",
            max_results=1000,
        )
        return [run for run in runs if "mlflow.parentRunId" not in run.data.tags]

    def nested(self, parent):
        return self.client.search_runs(
            [parent.info.experiment_id],
            f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'",
            max_results=1000,
        )


@pytest.fixture(scope="module")
def make_checkout(repository, tmp_path_factory):
    """Make checkouts with the output of `fetch` for a dataset of small images."""
    first = tmp_path_factory.mktemp("checkout")
    for name in ("params.yaml", "dvc.yaml", "src"):
        source = repository / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, first / name)
    with (first / "src/latentlab/training/loop.py").open("a") as module:
        module.write(COUNT)
    tree = json.loads(json.dumps(read_yaml(first / "params.yaml")))
    tree["data"] |= {"name": "shapes", "image_size": 8}
    tree["runtime"] |= {"device": "cpu", "threads": 1}
    tree["search"] |= SEARCH
    tree["train"]["model"] |= MODEL
    tree["train"] |= TRAIN
    tree["vae"]["model"]["channels"] = [4]
    tree["compare"] = {}
    (first / "params.yaml").write_text(json.dumps(tree))
    for seed, name in enumerate(("cats", "dogs")):
        write_pictures(first / "data" / "shapes" / name, 60, (8, 8), seed=seed)
    Checkout(first).run("fetch")
    shutil.rmtree(first / "mlruns", ignore_errors=True)
    for path in first.glob("mlflow.db*"):
        path.unlink()

    made = []

    def make(name):
        folder = tmp_path_factory.mktemp(name) / "checkout"
        made.append(Checkout(shutil.copytree(first, folder)))
        return made[-1]

    yield make
    for checkout in made:
        checkout.stop()


@pytest.fixture(scope="module")
def uninterrupted(make_checkout):
    checkout = make_checkout("uninterrupted")
    checkout.run()
    return checkout


@pytest.fixture(scope="module")
def killed(make_checkout):
    """A search with kills at random moments.

    At most two workers are killed per run of the driver, because a trial fails if its worker is
    killed three times.
    """
    checkout = make_checkout("killed")
    generator = random.Random(0)
    checkout.run_with_kills(
        (victim, generator.choice([0, 0, 0, 1]), generator.uniform(0, 0.3))
        for victim in [WORKER, WORKER, DRIVER, WORKER, WORKER, ALL] * 3 + [WORKER, WORKER, DRIVER]
    )
    return checkout


def trials_in_the_record(checkout):
    with opened_by_optuna(checkout.record) as study:
        return study.get_trials()


def rows(checkout):
    with (checkout.root / "outputs/search/trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_search_that_was_killed_writes_identical_outputs(killed, uninterrupted):
    assert killed.kills == {WORKER: 14, DRIVER: 4, ALL: 3}
    for name in ("best_params.yaml", "trials.csv"):
        assert killed.outputs[name] == uninterrupted.outputs[name]
    assert killed.outputs == uninterrupted.outputs
    assert {row["state"] for row in rows(killed)} == {"complete", "pruned"}


def test_every_trial_is_in_the_record_once_with_its_final_state(killed, uninterrupted):
    trials = trials_in_the_record(killed)

    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert all(trial.state.is_finished() for trial in trials)
    assert len({trial.params["train.learning_rate"] for trial in trials}) == TRIALS
    expected = trials_in_the_record(uninterrupted)
    assert [(t.state, t.params, t.values) for t in trials] == [
        (t.state, t.params, t.values) for t in expected
    ]


def test_recorded_epochs_are_not_trained_again(killed, uninterrupted):
    assert killed.again == []
    assert set(killed.trained()) == set(uninterrupted.trained())
    assert len(uninterrupted.trained()) == sum(int(row["epochs"]) for row in rows(uninterrupted))


def test_the_mlflow_run_has_every_trial_and_every_epoch_once(killed, uninterrupted):
    for checkout in (killed, uninterrupted):
        (run,) = [run for run in checkout.searches() if run.info.status == "FINISHED"]
        nested = {trial.info.run_name: trial for trial in checkout.nested(run)}
        table = rows(checkout)

        assert len(checkout.nested(run)) == TRIALS
        assert set(nested) == {f"trial {row['number']}" for row in table}
        for row in table:
            trial = nested[f"trial {row['number']}"]
            assert trial.info.status == "FINISHED"
            assert trial.data.tags["state"] == row["state"]
            history = checkout.client.get_metric_history(trial.info.run_id, "validation/loss")
            assert [point.step for point in history] == list(range(1, int(row["epochs"]) + 1))


def test_no_mlflow_run_is_left_running(killed):
    statuses = Counter(run.info.status for run in killed.searches())

    assert statuses["FINISHED"] == 1
    assert set(statuses) <= {"FINISHED", "KILLED"}
    for run in killed.searches():
        assert "RUNNING" not in {trial.info.status for trial in killed.nested(run)}


def test_every_metric_of_a_trial_is_logged_once_per_epoch(killed):
    (run,) = [run for run in killed.searches() if run.info.status == "FINISHED"]
    for trial in killed.nested(run):
        for name in trial.data.metrics:
            history = killed.client.get_metric_history(trial.info.run_id, name)
            steps = [point.step for point in history]
            assert len(set(steps)) == len(steps), name


def test_kills_do_not_cause_tracebacks(killed):
    assert "Traceback" not in killed.log.read_text()


def test_no_checkpoints_are_left(killed):
    assert list(killed.record.parent.glob("checkpoints/*")) == []
    assert list(killed.root.glob(".latentlab/checkpoints/*")) == []


def test_a_search_without_its_record_trains_again(make_checkout, uninterrupted):
    """The tests above pass because of the record."""
    checkout = make_checkout("without a record")

    checkout.run_with_kills([(DRIVER, 6, 0)], delete_record=True)

    assert checkout.again
    assert len(checkout.trained()) > len(uninterrupted.trained())
    assert checkout.outputs == uninterrupted.outputs


def test_a_search_without_retries_loses_the_trials_of_a_killed_worker(make_checkout, uninterrupted):
    """The tests above pass because jobs are retried."""
    checkout = make_checkout("a single attempt")
    module = checkout.root / "src/latentlab/common/processes.py"
    once = module.read_text().replace("MAX_ATTEMPTS = 3", "MAX_ATTEMPTS = 1")
    module.write_text(once)

    checkout.run_with_kills([(WORKER, 3, 0)])

    assert "MAX_ATTEMPTS = 1" in once
    assert "killed 1 times" in "".join(row["reason"] for row in rows(checkout))
    assert checkout.outputs != uninterrupted.outputs


def test_a_search_can_be_resumed_with_other_workers_and_extended(make_checkout, uninterrupted):
    """Four trials with one worker instead of two, then all trials.

    Some of the four trials are promoted although they are not among the best of all trials.
    """
    checkout = make_checkout("fewer workers")
    few = 4
    checkout.edit(trials=few)
    checkout.start()
    checkout.kill(DRIVER, 3, 0)

    checkout.edit(workers=1)
    checkout.run()
    checkout.edit(trials=TRIALS)
    checkout.run()

    assert checkout.outputs == uninterrupted.outputs
    trained, needed = set(checkout.trained()), set(uninterrupted.trained())
    assert trained >= needed
    assert all(number < few for number, _ in trained - needed)


def test_workers_of_an_interrupted_search_print_nothing(make_checkout):
    """Ctrl-C sends SIGINT to all processes; one of the two workers is idle."""
    checkout = make_checkout("interrupted")
    checkout.edit(trials=2)
    checkout.start()

    assert checkout.interrupt(2) == 130

    assert "Traceback" not in checkout.log.read_text()
    assert "Process" not in checkout.log.read_text()
