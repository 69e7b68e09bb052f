"""Executors for the trainings of a study: local processes, a GPU, or a Dask cluster."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.files import hash_tree
from latentlab.common.processes import InlineExecutor, Killed, available_cores, processes
from latentlab.params.studies import SearchParams
from latentlab.training.jobs import Job, Outcome, run_job, run_job_alone

CONNECT_TIMEOUT = 10
"""Seconds to wait for the Dask scheduler."""
PACKAGE = Path(__file__).parents[1]

Work = Callable[[Job], Outcome]
T = TypeVar("T")


@contextmanager
def open_executor(
    settings: SearchParams, device: str, data_dir: Path
) -> Iterator[tuple[Executor, Work]]:
    """Open the executor that `search` specifies; yield it and the function that it runs on jobs.

    Raises EnvironmentProblem if the Dask scheduler does not answer or a worker is unsuitable.
    """
    if settings.executor == "dask":
        with _dask_executor(str(settings.scheduler), data_dir) as executor:
            yield executor, partial(_run_on_worker, _versions())
    elif device != "cpu":
        yield InlineExecutor(), run_job
    else:
        workers = available_cores() if settings.workers == "auto" else settings.workers
        with processes(workers) as executor:
            yield executor, run_job_alone


class DaskExecutor(Executor):
    """The executor of a Dask client, which raises the exceptions of this package.

    If a worker is lost, Dask itself reschedules its work on another worker.
    """

    def __init__(self, client: Any) -> None:
        self._executor = client.get_executor(pure=False)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run a function on a worker."""
        from distributed import KilledWorker

        dask_future = self._executor.submit(fn, *args, **kwargs)
        future: Future[T] = Future()

        def transfer(done: Future[T]) -> None:
            if done.cancelled():
                future.set_exception(
                    EnvironmentProblem("the connection to the Dask scheduler was lost. Run again")
                )
            elif isinstance(error := done.exception(), KilledWorker):
                future.set_exception(Killed(f"its Dask workers were lost: {error}"))
            elif error is not None:
                future.set_exception(error)
            else:
                future.set_result(done.result())

        dask_future.add_done_callback(transfer)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Cancel pending work; the cluster keeps running."""
        self._executor.shutdown(wait=wait)


@contextmanager
def _dask_executor(scheduler: str, data_dir: Path) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError:
        raise EnvironmentProblem(
            "search.executor = dask needs the package distributed. Install it with "
            "`pip install 'latentlab[dask]'`"
        ) from None
    connect: Any = Client  # its constructor has no annotations
    try:
        client = connect(scheduler, timeout=CONNECT_TIMEOUT, set_as_default=False)
    except (OSError, ValueError, TypeError, RuntimeError) as error:  # some for invalid addresses
        raise EnvironmentProblem(
            f"search.scheduler = {scheduler}: no Dask scheduler answers: {error}"
        ) from None
    with client:
        _check_workers(client, scheduler, data_dir)
        yield DaskExecutor(client)


def _check_workers(client: Any, scheduler: str, data_dir: Path) -> None:
    """Raise EnvironmentProblem if a worker cannot run jobs, or would give different results."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        raise EnvironmentProblem(
            f"the Dask scheduler {scheduler} has no workers. Start some with "
            f"`dask worker {scheduler} --nthreads 1`"
        )
    threaded = [name for name, worker in workers.items() if worker["nthreads"] != 1]
    if threaded:
        raise EnvironmentProblem(
            "Dask workers must have one thread each, because trainings in one process share its "
            f"random generator. Start them with `--nthreads 1`: {', '.join(threaded)}"
        )
    errors = client.run(_worker_error, data_dir, _versions(), on_error="return")
    for name, error in errors.items():
        if error:
            raise EnvironmentProblem(f"the Dask worker {name} cannot run jobs: {error}")


def _run_on_worker(versions: dict[str, str], job: Job) -> Outcome:
    """Check this worker, which may have joined after `_check_workers`, and run a job on it."""
    from distributed import get_worker

    worker: Any = get_worker()
    error = _worker_error(job.data_dir, versions)
    if worker.state.nthreads != 1:
        error = "it has several threads; start it with `--nthreads 1`"
    if error:
        raise EnvironmentProblem(f"the Dask worker {worker.address} cannot run jobs: {error}")
    return run_job_alone(job)


def _worker_error(data_dir: Path, versions: dict[str, str]) -> str | None:
    """Return why this process, a worker, cannot run jobs; None if it can."""
    if not (data_dir / "dataset.json").is_file():
        return f"{data_dir} does not exist; workers need the project folder at the same path"
    if (own := _versions()) != versions:
        return f"it has {own}, but the driver has {versions}; restart the worker with the same code"
    return None


@cache  # the code that this process imported, even if the files change later
def _versions() -> dict[str, str]:
    """Return the versions that the driver and its workers must have in common."""
    import torch

    return {"torch": torch.__version__, "latentlab": _code_hash()[:12]}


def _code_hash() -> str:
    """Return the hexadecimal SHA-256 of the source of the package."""
    return hashlib.sha256("\n".join(hash_tree(PACKAGE)).encode()).hexdigest()
