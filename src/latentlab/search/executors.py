"""Where the trainings of a study run: processes of this machine, a GPU, or a Dask cluster."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.files import hash_tree
from latentlab.common.processes import InlineExecutor, Killed, available_cores, processes
from latentlab.params.studies import SearchParams
from latentlab.training.jobs import Job, Outcome, run_job, run_job_alone

SECONDS_TO_CONNECT = 10
PACKAGE = Path(__file__).parents[1]

Work = Callable[[Job], Outcome]


@contextmanager
def open_executor(
    settings: SearchParams, device: str, data_dir: Path
) -> Iterator[tuple[Executor, Work]]:
    """An executor, and what it should do with a job.

    EnvironmentProblem where the scheduler is not there, or its workers cannot do the work.
    """
    if settings.executor == "dask":
        with _cluster(str(settings.scheduler), data_dir) as executor:
            yield executor, partial(_run_alike, _versions())
    elif device != "cpu":
        yield InlineExecutor(), run_job
    else:
        workers = available_cores() if settings.workers == "auto" else settings.workers
        with processes(workers) as executor:
            yield executor, run_job_alone


class DaskExecutor(Executor):
    """The executor of a Dask client, with the errors of this package.

    Dask gives work whose worker is lost to another one by itself.
    """

    def __init__(self, client: Any) -> None:
        self._executor = client.get_executor(pure=False)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Have a worker do it."""
        from distributed import KilledWorker

        theirs = self._executor.submit(fn, *args, **kwargs)
        ours: Future = Future()

        def pass_on(done: Future) -> None:
            if done.cancelled():
                ours.set_exception(EnvironmentProblem("the Dask scheduler was lost; run again"))
            elif isinstance(error := done.exception(), KilledWorker):
                ours.set_exception(Killed(f"its workers were lost: {error}"))
            elif error is not None:
                ours.set_exception(error)
            else:
                ours.set_result(done.result())

        theirs.add_done_callback(pass_on)
        return ours

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Forget what was not done yet; the cluster stays."""
        self._executor.shutdown(wait=wait)


@contextmanager
def _cluster(scheduler: str, data_dir: Path) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError:
        raise EnvironmentProblem(
            "search.executor = dask needs the package distributed: pip install 'latentlab[dask]'"
        ) from None
    try:
        client = Client(scheduler, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError, TypeError, RuntimeError) as fault:  # also of its address
        raise EnvironmentProblem(
            f"no Dask scheduler answers at {scheduler} (search.scheduler): {fault}"
        ) from None
    with client:
        _examine_workers(client, scheduler, data_dir)
        yield DaskExecutor(client)


def _examine_workers(client: Any, scheduler: str, data_dir: Path) -> None:
    """Refuse a cluster whose workers cannot do the work, or would not do it alike."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        raise EnvironmentProblem(
            f"the Dask scheduler {scheduler} has no workers; start some with "
            f"`dask worker {scheduler} --nthreads 1`"
        )
    crowded = [name for name, worker in workers.items() if worker["nthreads"] != 1]
    if crowded:
        raise EnvironmentProblem(
            f"Dask workers must have one thread each, or their trainings share one random "
            f"generator; start them with `--nthreads 1`: {', '.join(crowded)}"
        )
    for name, fault in client.run(
        _fault_of_worker, data_dir, _versions(), on_error="return"
    ).items():
        if fault:
            raise EnvironmentProblem(f"the Dask worker {name} cannot do the work: {fault}")


def _run_alike(versions: dict[str, str], job: Job) -> Outcome:
    """Run a job on a worker, which may have joined after the others were examined."""
    from distributed import get_worker

    worker = get_worker()
    fault = _fault_of_worker(job.data_dir, versions)
    if worker.state.nthreads != 1:
        fault = "it has several threads; start it with `--nthreads 1`"
    if fault:
        raise EnvironmentProblem(f"the Dask worker {worker.address} cannot do the work: {fault}")
    return run_job_alone(job)


def _fault_of_worker(data_dir: Path, versions: dict[str, str]) -> str | None:
    """What this process, a worker, lacks."""
    if not (data_dir / "dataset.json").is_file():
        return f"{data_dir} is not there; workers need the folder of the project, at the same path"
    if (mine := _versions()) != versions:
        return f"it has {mine}, the driver has {versions}"
    return None


@cache  # of the code that this process runs, whatever becomes of the files
def _versions() -> dict[str, str]:
    """What must be the same for the same results."""
    import torch

    return {"torch": torch.__version__, "latentlab": _code_hash()[:12]}


def _code_hash() -> str:
    """Return the hexadecimal SHA-256 of the source of the package."""
    return hashlib.sha256("\n".join(hash_tree(PACKAGE)).encode()).hexdigest()
