"""A search that is killed, again and again, and what it has come to in the end.

Real processes and real signals. The driver is killed alone, as a person does it, and with all that
it started, as a container is stopped; its workers are killed one by one, as for want of memory.
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
        # the last one cannot be built
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

# at the end of the module of the training: a line for each epoch that was trained, and trainings
# that last long enough to be met, however fast the machine is
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
    """A checkout with code of its own, so that no edit of the code makes another study of it."""

    def __init__(self, root):
        self.root = root
        self.kills = Counter()
        self.again = []
        """What was trained in spite of being recorded: (trial, epoch)."""
        self._process = None
        self._random = random.Random(0)

    @property
    def said(self):
        """Where everything goes that its processes have to say."""
        return self.root / "said.log"

    @property
    def record(self):
        return next(self.root.glob(".latentlab/studies/search-*/study.db"), None)

    @property
    def outputs(self):
        """The content of every file that the search wrote."""
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
        with self.said.open("a") as said:
            self._process = subprocess.Popen(
                [Path(sys.executable).with_name("latentlab"), verb],
                cwd=self.root,
                env=environment,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def finish(self):
        """Wait for the end of what was started, which must be a good one."""
        code = self._process.wait()
        assert code == 0, self.said.read_text()

    def run(self, verb="search"):
        self.start(verb)
        self.finish()

    def stop(self):
        """End what a failed test has left."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def kill(self, victim, rungs, seconds):
        """Kill `victim` when so many more rungs are recorded and a moment has passed."""
        wanted = self.progress() + rungs
        self._wait_until(lambda: self.progress() >= wanted)
        time.sleep(seconds)
        if victim == WORKER:
            self._wait_until(self._kill_a_worker)
        else:
            (os.killpg if victim == ALL else os.kill)(self._process.pid, signal.SIGKILL)
            assert self._process.wait() == -signal.SIGKILL
        self.kills[victim] += 1

    def interrupt(self, rungs):
        """Interrupt all processes after so many rungs; the exit code, when the last is gone.

        The driver, which ends the others, is the last to hear of it.
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
            assert self._process.poll() is None, self.said.read_text()
            time.sleep(0.01)

    def progress(self):
        """Number of rungs that are recorded."""
        return sum(len(rungs) for rungs in self.recorded().values())

    def recorded(self):
        """The rungs of each trial that are recorded."""
        if self.record is None:
            return {}
        found = {}
        query = (
            "SELECT number, key FROM trial_user_attributes JOIN trials USING (trial_id) "
            "WHERE key LIKE 'epoch %'"
        )
        with closing(sqlite3.connect(f"file:{self.record}?mode=ro", uri=True)) as database:
            try:
                rows = database.execute(query).fetchall()
            except sqlite3.OperationalError:  # its tables are being laid out
                return {}
        for number, key in rows:
            found.setdefault(number, []).append(int(key.split()[1]))
        return found

    def trained(self):
        """Every epoch that was trained, in its order: (trial, epoch)."""
        log = self.root / "epochs.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [(int(line.split("-")[1]), int(line.split()[1])) for line in lines]

    def workers(self):
        """The processes that do trainings: children of the server that the driver has started."""
        parents, servers = {}, []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                state, parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:2]
                serves = b"forkserver" in (folder / "cmdline").read_bytes()
            except OSError:  # it has ended
                continue
            if state != "Z":
                parents[int(folder.name)] = int(parent)
            if serves and int(parent) == self._process.pid:
                servers.append(int(folder.name))
        return [pid for pid, parent in parents.items() if parent in servers]

    def run_through(self, kills, forget=False):
        """Run the search and run it again after each kill; `forget` what it has recorded."""
        known, trained = {}, 0
        self.start()
        for victim, rungs, seconds in kills:
            self.kill(victim, rungs, seconds)
            if victim != WORKER:
                self._account(known, trained)
                known, trained = self.recorded(), len(self.trained())
                if forget:
                    shutil.rmtree(self.record.parent)
                self.start()
        self.finish()
        self._account(known, trained)

    def _account(self, known, trained):
        """What was trained since, although it was `known` when the search began."""
        self.again += [
            (trial, epoch)
            for trial, epoch in self.trained()[trained:]
            if epoch <= max(known.get(trial, [0]))
        ]

    @property
    def client(self):
        return mlflow.MlflowClient(f"sqlite:///{self.root / 'mlflow.db'}")

    def searches(self):
        """The runs of the search."""
        experiment = self.client.get_experiment_by_name("latentlab/shapes")
        runs = self.client.search_runs(
            [experiment.experiment_id], "attributes.run_name = 'search'", max_results=1000
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
    """A checkout that has data_dir a folder of small pictures."""
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
def undisturbed(make_checkout):
    checkout = make_checkout("undisturbed")
    checkout.run()
    return checkout


@pytest.fixture(scope="module")
def killed(make_checkout):
    """The moments are random, in time and in progress.

    No driver lives to see more than two workers killed: a third would be the end of a trial, where
    all of them had the same one.
    """
    checkout = make_checkout("killed")
    generator = random.Random(0)
    checkout.run_through(
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


def test_a_search_that_was_killed_writes_what_one_does_that_was_not(killed, undisturbed):
    assert killed.kills == {WORKER: 14, DRIVER: 4, ALL: 3}
    for name in ("best_params.yaml", "trials.csv"):
        assert killed.outputs[name] == undisturbed.outputs[name]
    assert killed.outputs == undisturbed.outputs
    assert {row["state"] for row in rows(killed)} == {"complete", "pruned"}


def test_every_trial_is_in_the_record_once_and_none_is_running(killed, undisturbed):
    found = trials_in_the_record(killed)

    assert [trial.number for trial in found] == list(range(TRIALS))
    assert all(trial.state.is_finished() for trial in found)
    assert len({trial.params["train.learning_rate"] for trial in found}) == TRIALS
    expected = trials_in_the_record(undisturbed)
    assert [(t.state, t.params, t.values) for t in found] == [
        (t.state, t.params, t.values) for t in expected
    ]


def test_what_is_recorded_is_not_trained_again(killed, undisturbed):
    assert killed.again == []
    assert set(killed.trained()) == set(undisturbed.trained())
    assert len(undisturbed.trained()) == sum(int(row["epochs"]) for row in rows(undisturbed))


def test_the_run_has_every_trial_once_with_every_epoch_once(killed, undisturbed):
    for checkout in (killed, undisturbed):
        (run,) = [run for run in checkout.searches() if run.info.status == "FINISHED"]
        nested = {trial.info.run_name: trial for trial in checkout.nested(run)}
        table = rows(checkout)

        assert len(checkout.nested(run)) == TRIALS
        assert set(nested) == {f"trial {row['number']}" for row in table}
        for row in table:
            trial = nested[f"trial {row['number']}"]
            assert trial.info.status == "FINISHED"
            assert trial.data.params["state"] == row["state"]
            history = checkout.client.get_metric_history(trial.info.run_id, "validation/loss")
            assert [point.step for point in history] == list(range(1, int(row["epochs"]) + 1))


def test_no_run_is_left_running(killed):
    statuses = Counter(run.info.status for run in killed.searches())

    assert statuses["FINISHED"] == 1
    assert set(statuses) <= {"FINISHED", "KILLED"}
    for run in killed.searches():
        assert "RUNNING" not in {trial.info.status for trial in killed.nested(run)}


def test_every_figure_of_a_trial_is_told_once(killed):
    (run,) = [run for run in killed.searches() if run.info.status == "FINISHED"]
    for trial in killed.nested(run):
        for name in trial.data.metrics:
            history = killed.client.get_metric_history(trial.info.run_id, name)
            steps = [point.step for point in history]
            assert len(set(steps)) == len(steps), name


def test_a_kill_of_others_is_no_fault_of_those_that_are_left(killed):
    assert "Traceback" not in killed.said.read_text()


def test_nothing_is_left_of_trainings(killed):
    assert list(killed.record.parent.glob("checkpoints/*")) == []
    assert list(killed.root.glob(".latentlab/checkpoints/*")) == []


def test_a_search_that_forgets_what_it_recorded_trains_it_again(make_checkout, undisturbed):
    """What is shown above is due to the record."""
    checkout = make_checkout("forgetful")

    checkout.run_through([(DRIVER, 6, 0)], forget=True)

    assert checkout.again
    assert len(checkout.trained()) > len(undisturbed.trained())
    assert checkout.outputs == undisturbed.outputs


def test_a_search_that_does_not_do_work_again_loses_the_trials_of_a_killed_worker(
    make_checkout, undisturbed
):
    """What is shown above is due to further attempts."""
    checkout = make_checkout("a single attempt")
    module = checkout.root / "src/latentlab/parallel.py"
    once = module.read_text().replace("ATTEMPTS = 3", "ATTEMPTS = 1")
    module.write_text(once)

    checkout.run_through([(WORKER, 3, 0)])

    assert "ATTEMPTS = 1" in once
    assert "killed 1 times" in "".join(row["reason"] for row in rows(checkout))
    assert checkout.outputs != undisturbed.outputs


def test_a_search_that_was_killed_goes_on_with_other_workers(make_checkout, undisturbed):
    """One process where two were too many, and a study of its first trials is made the whole.

    Of four trials some go on that are not among the best of all.
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

    assert checkout.outputs == undisturbed.outputs
    trained, needed = set(checkout.trained()), set(undisturbed.trained())
    assert trained >= needed
    assert all(number < few for number, _ in trained - needed)


def test_a_search_that_is_interrupted_has_its_workers_say_nothing(make_checkout):
    """As Ctrl-C does it, which goes to all processes, with one of two that has nothing to do."""
    checkout = make_checkout("interrupted")
    checkout.edit(trials=2)
    checkout.start()

    assert checkout.interrupt(2) == 130

    assert "Traceback" not in checkout.said.read_text()
    assert "Process" not in checkout.said.read_text()
