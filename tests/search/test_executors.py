"""Studies by processes of this machine and by a real Dask cluster on it, some of them killed."""

import dataclasses
import gc
import importlib.util
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from operator import truediv

import pytest
import torch

from crafting import optimization_settings, write_random_splits
from latentlab.common.errors import EnvironmentProblem
from latentlab.common.processes import InlineExecutor, Killed, LocalExecutor
from latentlab.data.image_set import DatasetInfo, load_split
from latentlab.models.autoencoder import Autoencoder
from latentlab.params.geometry import Architecture
from latentlab.params.load import load_params
from latentlab.params.resolve import with_values
from latentlab.pipeline import fingerprint as identity
from latentlab.search import executors as module
from latentlab.search.executors import DaskExecutor, open_executor
from latentlab.search.objectives import best_of
from latentlab.search.record import StudyRecord
from latentlab.search.study import Candidate, Study, Task
from latentlab.training.jobs import Job, run_job, run_job_alone

needs_dask = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None,
    reason="distributed is not installed: pip install 'latentlab[dask]'",
)
SECONDS = 120
"""How long anything here may take at most."""
WORKER = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fetch")
    write_random_splits(folder, train=128, validation=20)
    DatasetInfo("shapes", ["a", "b"], [1, 8, 8], {}, [0.5], [0.3], {}, "").write(folder)
    return folder


@pytest.fixture(scope="module")
def settings(repository):
    """Six trials of two folds, in one batch, with rungs after epochs 1, 3 and 9."""
    return with_values(
        load_params(repository / "params.yaml"),
        {
            "search.trials": 6,
            "search.batch": 6,
            "search.epochs": 9,
            "search.min_epochs": 1,
            "search.workers": 2,
            "search.space": {
                "train.model.hidden": {"type": "int", "low": 4, "high": 16},
                "train.learning_rate": {"type": "float", "low": 0.0001, "high": 0.1, "log": True},
            },
        },
    ).search


def candidate(values):
    """Its network has dropout, so that random numbers count too."""
    hidden, rate = values["train.model.hidden"], values["train.learning_rate"]
    architecture = Architecture([1, 8, 8], [4, 8], hidden, 2, dropout=0.1)
    settings = optimization_settings(epochs=9, batch_size=8, learning_rate=rate)
    return Candidate(settings, partial(Autoencoder, architecture))


@pytest.fixture
def study(settings, data_dir, tmp_path):
    """Makes the study, by an executor and what it should do with a job."""
    folds = [(torch.arange(0, 128, 2), torch.arange(1, 128, 2))]
    folds += [(held_out, kept) for kept, held_out in folds]

    def make(executor, work, candidate=candidate, **changes):
        changed = settings.model_copy(update=changes)
        task = Task(changed, candidate, folds, data_dir, 0, "cpu", tmp_path / "checkpoints")
        record = StudyRecord(tmp_path / "record", list(changed.objectives.values()))
        return Study(task, record, executor, work)

    return make


def timeless(trials):
    """All that is known of trials but the time that they took."""
    return [
        dataclasses.replace(
            trial,
            outcomes=[dataclasses.replace(outcome, seconds=0.0) for outcome in trial.outcomes],
        )
        for trial in trials
    ]


@pytest.fixture(scope="module")
def expected(settings, data_dir, tmp_path_factory):
    """The trials, one training after the other in this process."""
    make = study.__wrapped__(settings, data_dir, tmp_path_factory.mktemp("inline"))
    return timeless(make(InlineExecutor(), run_job).trials())


class Cluster:
    """A Dask scheduler and its workers: processes of this machine that talk by TCP."""

    def __init__(self, folder, **environment):
        self.folder = folder
        self.environment = os.environ | {"OMP_NUM_THREADS": "1"} | environment
        self.processes = []
        file = folder / "scheduler.json"
        self._start(
            *("scheduler", "--host", "127.0.0.1", "--port", "0"),
            *("--no-dashboard", "--scheduler-file", file),
        )
        wait_until(file.exists)
        self.address = json.loads(file.read_text())["address"]

    def start_workers(self, count, *options, **environment):
        """Start workers, and wait until the scheduler knows them."""
        wanted = len(self.workers()) + count
        for _ in range(count):
            self._start(
                *("worker", self.address, "--host", "127.0.0.1"),
                *("--local-directory", self.folder, *WORKER, *options),
                **environment,
            )
        wait_until(lambda: len(self.workers()) == wanted)

    def workers(self):
        """The addresses of those that the scheduler knows."""
        with self.client() as client:
            return set(client.scheduler_info(n_workers=-1)["workers"])

    def client(self):
        from distributed import Client

        return Client(self.address, timeout=SECONDS, set_as_default=False)

    def kill_workers(self):
        """Kill all, and wait until the scheduler knows."""
        with self.client() as client:
            for pid in client.run(os.getpid).values():
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.workers())

    def kill_one_at_work(self, done):
        """Kill a worker in the middle of a training, unless all is done; which it was.

        It is stopped before, and cannot come to the end of its work meanwhile.
        """
        with self.client() as client:
            pids = client.run(os.getpid)
            while not done.is_set():
                at_work = client.run(lambda dask_worker: dask_worker.state.executing_count)
                for worker in [worker for worker, count in at_work.items() if count]:
                    os.kill(pids[worker], signal.SIGSTOP)
                    if client.processing()[worker]:
                        os.kill(pids[worker], signal.SIGKILL)
                        return worker
                    os.kill(pids[worker], signal.SIGCONT)
                time.sleep(0.01)
        return None

    def stop(self):
        for process in reversed(self.processes):
            process.kill()
            process.wait()

    def _start(self, *command, **environment):
        with (self.folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *map(str, command)],
                cwd=self.folder,
                env=self.environment | environment,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)


def wait_until(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def background(work):
    """Do something meanwhile, until it is done or this is; what came of it, in a list."""
    results, done = [], threading.Event()
    thread = threading.Thread(target=lambda: results.append(work(done)))
    thread.start()
    try:
        yield results
    finally:
        done.set()
        thread.join()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two good workers, at least at first."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start_workers(2)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def lone_scheduler(tmp_path_factory):
    """What kills one of its workers is not given to another."""
    cluster = Cluster(
        tmp_path_factory.mktemp("odd"), DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0"
    )
    yield cluster
    cluster.stop()


@pytest.fixture
def odd_cluster(lone_scheduler):
    """Tests bring the workers; here they are taken away."""
    yield lone_scheduler
    lone_scheduler.kill_workers()


@pytest.fixture
def on(settings, data_dir):
    """Opens the executor of a cluster, or of what is no cluster."""

    def on(cluster, data_dir=data_dir):
        address = cluster if isinstance(cluster, str) else cluster.address
        changes = {"executor": "dask", "scheduler": address}
        return open_executor(settings.model_copy(update=changes), "cpu", data_dir)

    return on


def succeeded(future):
    return future.done() and not future.cancelled() and future.exception() is None


def refusal(opened):
    """What is said where the executor cannot be used."""
    with pytest.raises(EnvironmentProblem) as caught, opened:
        pass
    told = str(caught.value)
    # a client that failed waits for ever if it is collected while the next one starts
    del caught, opened
    gc.collect()
    return told


def test_a_study_is_what_it_seems_to_be(expected, settings):
    """Trials are pruned at both rungs, and trained in more than one go."""
    epochs = [len(trial.history) for trial in expected]

    assert sorted(trial.number for trial in expected) == list(range(6))
    assert set(epochs) == {1, 3, 9}
    assert all(len(trial.outcomes) == 2 for trial in expected)
    assert best_of(expected, settings).results == [
        min(trial.results[0] for trial in expected if len(trial.history) == 9)
    ]


def test_two_processes_give_the_trials_of_one(study, settings, data_dir, expected):
    with open_executor(settings, "cpu", data_dir) as (executor, work):
        trials = timeless(study(executor, work).trials())

    assert isinstance(executor, LocalExecutor)
    assert trials == expected
    assert best_of(trials, settings).values == best_of(expected, settings).values


def test_a_local_process_that_is_killed_costs_no_trial(
    study, settings, data_dir, expected, tmp_path
):
    """Two kills, at the first trainings that are done; the third would be one too many."""

    def kill(done):
        kills = 0
        while kills < 2 and not done.is_set():
            if len(list(tmp_path.glob("checkpoints/*"))) > kills:
                multiprocessing.active_children()[0].kill()
                kills += 1
        return kills

    with (
        open_executor(settings, "cpu", data_dir) as (executor, work),
        background(kill) as kills,
    ):
        trials = timeless(study(executor, work).trials())

    assert trials == expected
    assert kills == [2]


def test_on_a_gpu_one_training_runs_at_a_time_in_this_process(settings, data_dir):
    with open_executor(settings, "cuda", data_dir) as (executor, work):
        assert isinstance(executor, InlineExecutor)
        assert work is run_job
        assert executor.submit(os.getpid).result() == os.getpid()


def test_auto_is_a_process_for_each_core(settings, data_dir, monkeypatch):
    monkeypatch.setattr(module, "available_cores", lambda: 1)
    automatic = settings.model_copy(update={"workers": "auto"})
    with open_executor(automatic, "cpu", data_dir) as (executor, work):
        assert list(executor.map(pow, range(4), [2] * 4)) == [0, 1, 4, 9]
        assert len(multiprocessing.active_children()) == 1

    assert work is run_job_alone


@needs_dask
def test_a_cluster_gives_the_trials_of_one_process(study, settings, on, cluster, expected):
    with on(cluster) as (executor, work):
        trials = timeless(study(executor, work).trials())

    assert trials == expected
    assert best_of(trials, settings).values == best_of(expected, settings).values


@needs_dask
def test_a_study_that_one_process_began_is_ended_by_a_cluster(study, on, cluster, expected):
    """It stops when the first trial has ended: others are under way then."""
    begun = timeless([next(study(InlineExecutor(), run_job).trials())])
    with on(cluster) as (executor, work):
        trials = timeless(study(executor, work).trials())

    assert begun == expected[:1]
    assert trials == expected


@needs_dask
def test_results_and_errors_come_back_from_a_cluster(on, cluster, tmp_path):
    with on(cluster) as (executor, _):
        assert list(executor.map(pow, range(4), [2] * 4)) == [0, 1, 4, 9]
        with pytest.raises(ZeroDivisionError):
            executor.submit(truediv, 1, 0).result()
        with pytest.raises(EnvironmentProblem, match="run `dvc repro fetch` first"):
            executor.submit(load_split, tmp_path, "train").result()
        drawn = [executor.submit(os.urandom, 8).result() for _ in range(2)]

    assert drawn[0] != drawn[1]  # what was done before is done again


@needs_dask
def test_an_interrupt_leaves_the_cluster_as_it_was(on, cluster):
    """Trainings that wait are forgotten; what runs comes to its end."""
    workers = cluster.workers()
    with suppress(KeyboardInterrupt), on(cluster) as (executor, _):
        futures = [executor.submit(time.sleep, 0.5) for _ in range(40)]
        raise KeyboardInterrupt

    assert cluster.workers() == workers
    with on(cluster) as (executor, _):
        assert executor.submit(pow, 2, 3).result() == 8
    assert not any(map(succeeded, futures[10:]))


@needs_dask
def test_a_worker_that_does_not_see_the_images_is_refused(on, cluster, tmp_path):
    told = refusal(on(cluster, data_dir=tmp_path))

    assert f"{tmp_path} is not there; workers need the folder of the project" in told
    assert any(worker in told for worker in cluster.workers())


@needs_dask
def test_a_worker_that_is_killed_in_the_middle_of_a_training_costs_no_trial(
    study, on, cluster, expected
):
    before = cluster.workers()
    with on(cluster) as (executor, work), background(cluster.kill_one_at_work) as killed:
        trials = timeless(study(executor, work).trials())

    assert trials == expected
    assert killed[0] in before
    assert cluster.workers() == before - {killed[0]}


@needs_dask
def test_a_scheduler_that_is_lost_in_the_middle_ends_the_study_with_one_message(
    study, on, cluster, monkeypatch
):
    """It does not wait for ever for what nobody does any more."""
    monkeypatch.setattr(module, "SECONDS_TO_CONNECT", 5)
    faults = []

    def run():
        try:
            with on(cluster) as (executor, work):
                list(study(executor, work).trials())
        except BaseException as fault:
            faults.append(fault)

    running = threading.Thread(target=run, daemon=True)
    with cluster.client() as client:
        running.start()
        wait_until(lambda: any(client.processing().values()))
    cluster.processes[0].kill()
    running.join(30)

    assert not running.is_alive()
    assert isinstance(faults[0], EnvironmentProblem)


@needs_dask
def test_a_scheduler_that_is_not_there_is_told(on, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_TO_CONNECT", 0.5)

    told = refusal(on("tcp://127.0.0.1:1"))
    assert "no Dask scheduler answers at tcp://127.0.0.1:1 (search.scheduler)" in told


@needs_dask
@pytest.mark.parametrize(
    "address",
    ["tcp://127.0.0.1", "tcp://127.0.0.1:scheduler", "tls://127.0.0.1:1", "ucx://127.0.0.1:1"],
)
def test_an_address_that_cannot_be_used_is_told(on, address, monkeypatch):
    """A port is missing or no number; a protocol needs what is not there."""
    monkeypatch.setattr(module, "SECONDS_TO_CONNECT", 0.5)

    told = refusal(on(address))
    assert address in told
    assert "search.scheduler" in told


def test_without_the_package_it_is_told_what_to_install(on, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)

    assert "pip install 'latentlab[dask]'" in refusal(on("tcp://127.0.0.1:1"))


@needs_dask
def test_a_cluster_without_workers_is_refused(on, odd_cluster):
    told = refusal(on(odd_cluster))

    assert f"the Dask scheduler {odd_cluster.address} has no workers" in told
    assert f"dask worker {odd_cluster.address} --nthreads 1" in told


@needs_dask
def test_workers_with_several_threads_are_refused(on, odd_cluster):
    odd_cluster.start_workers(1, "--nthreads", "2")
    (worker,) = odd_cluster.workers()
    told = refusal(on(odd_cluster))

    assert "one thread each" in told
    assert "--nthreads 1" in told
    assert worker in told


@needs_dask
def test_a_worker_that_joins_later_is_examined_by_its_first_job(on, odd_cluster, data_dir):
    network = partial(Autoencoder, Architecture([1, 8, 8], [4], 4, 2))
    job = Job("late", network, optimization_settings(epochs=1), data_dir, 0, "cpu")
    odd_cluster.start_workers(1)
    with on(odd_cluster) as (executor, work):
        odd_cluster.kill_workers()
        odd_cluster.start_workers(1, "--nthreads", "2")
        with pytest.raises(EnvironmentProblem, match="it has several threads"):
            executor.submit(work, job).result()


@needs_dask
def test_a_worker_with_other_code_is_refused_until_it_is_started_again(
    on, odd_cluster, repository, tmp_path
):
    """What counts is the code that it has read, not what lies on the disk since then."""
    package = tmp_path / "latentlab"
    shutil.copytree(repository / "src" / "latentlab", package)
    edited = package / "training" / "loop.py"
    original = edited.read_text()
    edited.write_text(f"{original}# edited\n")
    odd_cluster.start_workers(1, PYTHONPATH=str(tmp_path))
    (worker,) = odd_cluster.workers()
    told = refusal(on(odd_cluster))

    assert f"the Dask worker {worker} cannot do the work" in told
    assert identity.code_hash()[:12] in told

    edited.write_text(original)
    assert f"the Dask worker {worker} cannot do the work" in refusal(on(odd_cluster))


@needs_dask
def test_a_worker_without_the_package_is_refused(on, odd_cluster, tmp_path):
    (tmp_path / "latentlab.py").write_text("raise ModuleNotFoundError('no latentlab')")
    odd_cluster.start_workers(1, PYTHONPATH=str(tmp_path))
    (worker,) = odd_cluster.workers()
    told = refusal(on(odd_cluster))

    assert f"the Dask worker {worker} cannot do the work" in told
    assert "no latentlab" in told


@needs_dask
def test_work_that_kills_its_workers_is_told_as_killed(odd_cluster):
    odd_cluster.start_workers(1)
    with odd_cluster.client() as client:
        failed = DaskExecutor(client).submit(os._exit, 1)

        with pytest.raises(Killed, match="its workers were lost"):
            failed.result()
