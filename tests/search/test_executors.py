"""Studies with local processes and with a local Dask cluster, some of whose workers are killed."""

import dataclasses
import gc
import importlib.util
import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from operator import truediv

import pytest
import torch

from crafting import optimization_settings, run_dask, write_random_splits
from latentlab.common.errors import EnvironmentProblem
from latentlab.common.processes import InlineExecutor, Killed, LocalExecutor, worker_context
from latentlab.data.image_set import DatasetInfo, load_split
from latentlab.models.autoencoder import Autoencoder
from latentlab.params.geometry import Architecture
from latentlab.params.load import load_params
from latentlab.params.resolve import with_values
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
TIMEOUT = 120
"""Seconds after which a test fails."""
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
    """A network with dropout, so that results also depend on the random state."""
    hidden, rate = values["train.model.hidden"], values["train.learning_rate"]
    architecture = Architecture([1, 8, 8], [4, 8], hidden, 2, dropout=0.1)
    settings = optimization_settings(epochs=9, batch_size=8, learning_rate=rate)
    return Candidate(settings, partial(Autoencoder, architecture))


@pytest.fixture
def study(settings, data_dir, tmp_path):
    """Make a study with an executor and the function that it runs on jobs."""
    folds = [(torch.arange(0, 128, 2), torch.arange(1, 128, 2))]
    folds += [(held_out, train) for train, held_out in folds]

    def make(executor, work, candidate=candidate, **changes):
        changed = settings.model_copy(update=changes)
        task = Task(changed, candidate, folds, data_dir, 0, "cpu", tmp_path / "checkpoints")
        record = StudyRecord(tmp_path / "record", list(changed.objectives.values()))
        return Study(task, record, executor, work)

    return make


def timeless(trials):
    """Return copies of trials without the duration of their trainings."""
    return [
        dataclasses.replace(
            trial,
            outcomes=[dataclasses.replace(outcome, seconds=0.0) for outcome in trial.outcomes],
        )
        for trial in trials
    ]


@pytest.fixture(scope="module")
def expected(settings, data_dir, tmp_path_factory):
    """The trials of the study in this process, one training after the other."""
    make = study.__wrapped__(settings, data_dir, tmp_path_factory.mktemp("inline"))
    return timeless(make(InlineExecutor(), run_job).trials())


class Cluster:
    """A Dask scheduler and its workers, which are local processes connected by TCP."""

    def __init__(self, folder, **environment):
        self.folder = folder
        self.processes = []
        file = folder / "scheduler.json"
        self._start(
            *("scheduler", "--host", "127.0.0.1", "--port", "0"),
            *("--no-dashboard", "--scheduler-file", file),
            **environment,
        )
        wait_until(file.exists)
        self.address = json.loads(file.read_text())["address"]

    def start_workers(self, count, *options, **environment):
        """Start workers and wait until they are registered."""
        expected = len(self.workers()) + count
        for _ in range(count):
            self._start(
                *("worker", self.address, "--host", "127.0.0.1"),
                *("--local-directory", self.folder, *WORKER, *options),
                **environment,
            )
        wait_until(lambda: len(self.workers()) == expected)

    def workers(self):
        """Return the addresses of the registered workers."""
        with self.client() as client:
            return set(client.scheduler_info(n_workers=-1)["workers"])

    def client(self):
        from distributed import Client

        return Client(self.address, timeout=TIMEOUT, set_as_default=False)

    def kill_workers(self):
        """Kill all workers and wait until the scheduler has noticed."""
        with self.client() as client:
            for pid in client.run(os.getpid).values():
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.workers())

    def kill_busy_worker(self, done):
        """Kill a worker during a training and return its address; None if `done` is set before.

        The worker is stopped before it is killed, so that its training cannot finish meanwhile.
        """
        with self.client() as client:
            pids = client.run(os.getpid)
            while not done.is_set():
                busy = client.run(lambda dask_worker: dask_worker.state.executing_count)
                for worker in [worker for worker, count in busy.items() if count]:
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
            process.join()

    def _start(self, *arguments, **environment):
        arguments = [str(argument) for argument in arguments]
        log = self.folder / "log.txt"
        process = worker_context().Process(target=run_dask, args=(arguments, environment, log))
        process.start()
        self.processes.append(process)


def wait_until(condition):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def background(work):
    """Run `work` in a thread during the block; yield a list that will contain its result."""
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
    """A cluster with two suitable workers, of which tests may kill one."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start_workers(2)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def lone_scheduler(tmp_path_factory):
    """A scheduler without workers, which does not retry work that killed its worker."""
    cluster = Cluster(
        tmp_path_factory.mktemp("odd"), DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0"
    )
    yield cluster
    cluster.stop()


@pytest.fixture
def odd_cluster(lone_scheduler):
    """A cluster to which tests add workers, which are removed afterwards."""
    yield lone_scheduler
    lone_scheduler.kill_workers()


@pytest.fixture
def on(settings, data_dir):
    """Open the executor of a cluster or scheduler address."""

    def on(cluster, data_dir=data_dir):
        address = cluster if isinstance(cluster, str) else cluster.address
        changes = {"executor": "dask", "scheduler": address}
        return open_executor(settings.model_copy(update=changes), "cpu", data_dir)

    return on


def succeeded(future):
    return future.done() and not future.cancelled() and future.exception() is None


def error_of(opened):
    """Return the error that opening the executor raises."""
    with pytest.raises(EnvironmentProblem) as error, opened:
        pass
    text = str(error.value)
    # a client that failed hangs if it is collected while the next one starts
    del error, opened
    gc.collect()
    return text


def test_the_study_prunes_trials_at_both_rungs(expected, settings):
    """This makes the comparisons below meaningful."""
    epochs = [len(trial.history) for trial in expected]

    assert sorted(trial.number for trial in expected) == list(range(6))
    assert set(epochs) == {1, 3, 9}
    assert all(len(trial.outcomes) == 2 for trial in expected)
    assert best_of(expected, settings).results == [
        min(trial.results[0] for trial in expected if len(trial.history) == 9)
    ]


def test_killing_a_local_process_does_not_change_the_trials(
    study, settings, data_dir, expected, tmp_path
):
    """Twice, because a job is retried twice."""

    def kill(done):
        kills = 0
        while kills < 2 and not done.is_set():
            if len(list(tmp_path.glob("checkpoints/*"))) > kills:
                multiprocessing.active_children()[0].kill()
                kills += 1
            time.sleep(0.001)
        return kills

    with (
        open_executor(settings, "cpu", data_dir) as (executor, work),
        background(kill) as kills,
    ):
        trials = timeless(study(executor, work).trials())

    assert isinstance(executor, LocalExecutor)
    assert trials == expected
    assert best_of(trials, settings).values == best_of(expected, settings).values
    assert kills == [2]


def test_on_a_gpu_one_training_runs_at_a_time_in_this_process(settings, data_dir):
    with open_executor(settings, "cuda", data_dir) as (executor, work):
        assert isinstance(executor, InlineExecutor)
        assert work is run_job
        assert executor.submit(os.getpid).result() == os.getpid()


def test_auto_means_one_process_per_core(settings, data_dir, monkeypatch):
    monkeypatch.setattr(module, "available_cores", lambda: 1)
    automatic = settings.model_copy(update={"workers": "auto"})
    with open_executor(automatic, "cpu", data_dir) as (executor, work):
        assert list(executor.map(pow, range(4), [2] * 4)) == [0, 1, 4, 9]
        assert len(multiprocessing.active_children()) == 1

    assert work is run_job_alone


@needs_dask
def test_a_cluster_can_resume_a_study_that_a_local_process_began(study, on, cluster, expected):
    """It is interrupted after the first trial, while other trials are running."""
    begun = timeless([next(study(InlineExecutor(), run_job).trials())])
    with on(cluster) as (executor, work):
        trials = timeless(study(executor, work).trials())

    assert begun == expected[:1]
    assert trials == expected


@needs_dask
def test_a_cluster_returns_results_and_errors(on, cluster, tmp_path):
    with on(cluster) as (executor, _):
        assert list(executor.map(pow, range(4), [2] * 4)) == [0, 1, 4, 9]
        with pytest.raises(ZeroDivisionError):
            executor.submit(truediv, 1, 0).result()
        with pytest.raises(EnvironmentProblem, match="dvc repro fetch"):
            executor.submit(load_split, tmp_path, "train").result()
        numbers = [executor.submit(os.urandom, 8).result() for _ in range(2)]

    assert numbers[0] != numbers[1]  # Dask does not return a cached result


@needs_dask
def test_an_interrupt_cancels_pending_work_and_leaves_the_cluster_running(on, cluster):
    workers = cluster.workers()
    with suppress(KeyboardInterrupt), on(cluster) as (executor, _):
        futures = [executor.submit(time.sleep, 0.5) for _ in range(40)]
        raise KeyboardInterrupt

    assert cluster.workers() == workers
    with on(cluster) as (executor, _):
        assert executor.submit(pow, 2, 3).result() == 8
    assert not any(map(succeeded, futures[10:]))


@needs_dask
def test_a_worker_without_the_data_folder_is_refused(on, cluster, tmp_path, message):
    text = error_of(on(cluster, data_dir=tmp_path))

    message("search/worker without data", re.sub(r"tcp://[0-9.:]+", "<worker>", text))


@needs_dask
def test_killing_a_worker_during_a_training_does_not_change_the_trials(
    study, on, cluster, expected
):
    before = cluster.workers()
    with on(cluster) as (executor, work), background(cluster.kill_busy_worker) as killed:
        trials = timeless(study(executor, work).trials())

    assert trials == expected
    assert killed[0] in before
    assert cluster.workers() == before - {killed[0]}


@needs_dask
def test_a_scheduler_that_is_killed_ends_the_study_with_an_error(
    study, on, cluster, monkeypatch, message
):
    """The study does not wait forever for its results."""
    monkeypatch.setattr(module, "CONNECT_TIMEOUT", 5)
    errors = []

    def run():
        try:
            with on(cluster) as (executor, work):
                list(study(executor, work).trials())
        except BaseException as error:
            errors.append(error)

    running = threading.Thread(target=run, daemon=True)
    with cluster.client() as client:
        running.start()
        wait_until(lambda: any(client.processing().values()))
    cluster.processes[0].kill()
    running.join(30)

    assert not running.is_alive()
    assert isinstance(errors[0], EnvironmentProblem)
    message("search/scheduler lost", errors[0])


@needs_dask
def test_an_unreachable_scheduler_is_an_error_with_its_address(on, monkeypatch):
    """Nothing listens, the port is missing or invalid, or the protocol is not available."""
    monkeypatch.setattr(module, "CONNECT_TIMEOUT", 0.5)
    addresses = ["tcp://127.0.0.1:1", "tcp://127.0.0.1", "tcp://127.0.0.1:scheduler"]
    addresses += ["tls://127.0.0.1:1", "ucx://127.0.0.1:1"]

    for address in addresses:
        text = error_of(on(address))
        assert text.startswith(f"search.scheduler = {address}: no Dask scheduler answers: ")


def test_without_the_package_distributed_the_error_says_how_to_install_it(on, monkeypatch, message):
    monkeypatch.setitem(sys.modules, "distributed", None)

    message("search/distributed is missing", error_of(on("tcp://127.0.0.1:1")))


@needs_dask
def test_a_cluster_without_workers_is_refused(on, odd_cluster, message):
    text = error_of(on(odd_cluster))

    message("search/no workers", text.replace(odd_cluster.address, "<scheduler>"))


@needs_dask
def test_workers_with_several_threads_are_refused(on, odd_cluster, message):
    odd_cluster.start_workers(1, "--nthreads", "2")
    (worker,) = odd_cluster.workers()

    text = error_of(on(odd_cluster))

    message("search/worker with threads", text.replace(worker, "<worker>"))


@needs_dask
def test_a_worker_that_joins_later_is_checked_by_its_first_job(on, odd_cluster, data_dir, message):
    network = partial(Autoencoder, Architecture([1, 8, 8], [4], 4, 2))
    job = Job("late", network, optimization_settings(epochs=1), data_dir, 0, "cpu")
    odd_cluster.start_workers(1)
    with on(odd_cluster) as (executor, work):
        odd_cluster.kill_workers()
        odd_cluster.start_workers(1, "--nthreads", "2")
        (worker,) = odd_cluster.workers()
        with pytest.raises(EnvironmentProblem) as error:
            executor.submit(work, job).result()
    message("search/later worker with threads", str(error.value).replace(worker, "<worker>"))


@needs_dask
def test_a_worker_with_other_code_is_refused_until_it_is_started_again(
    on, odd_cluster, repository, tmp_path
):
    """The code that the worker imported counts, not later changes of the files."""
    package = tmp_path / "latentlab"
    shutil.copytree(repository / "src" / "latentlab", package)
    edited = package / "training" / "loop.py"
    original = edited.read_text()
    edited.write_text(f"{original}# edited\n")
    odd_cluster.start_workers(1, PYTHONPATH=str(tmp_path))
    (worker,) = odd_cluster.workers()
    text = error_of(on(odd_cluster))

    assert text.startswith(f"the Dask worker {worker} cannot run jobs: it has ")
    assert module._versions()["latentlab"] in text

    edited.write_text(original)
    assert error_of(on(odd_cluster)) == text


@needs_dask
def test_a_worker_without_the_package_is_refused(on, odd_cluster, tmp_path):
    (tmp_path / "latentlab.py").write_text("raise ModuleNotFoundError('no latentlab')")
    odd_cluster.start_workers(1, PYTHONPATH=str(tmp_path))
    (worker,) = odd_cluster.workers()
    text = error_of(on(odd_cluster))

    assert f"the Dask worker {worker} cannot run jobs" in text
    assert "no latentlab" in text


@needs_dask
def test_work_that_kills_its_worker_raises_killed(odd_cluster):
    odd_cluster.start_workers(1)
    with odd_cluster.client() as client:
        failed = DaskExecutor(client).submit(os._exit, 1)

        with pytest.raises(Killed, match="its Dask workers were lost"):
            failed.result()
