"""Epochs saved by successive halving, speedup by a second worker, and overhead of the driver."""

import hashlib
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import latentlab
from latentlab.common.files import hash_tree, sha256_of
from latentlab.common.processes import InlineExecutor, available_cores, processes
from latentlab.data.image_set import load_split, stratified_sample
from latentlab.models.autoencoder import Autoencoder
from latentlab.params.geometry import Architecture
from latentlab.params.schema import TrainParams
from latentlab.params.studies import StudyParams
from latentlab.search.objectives import best_of
from latentlab.search.record import StudyRecord
from latentlab.search.study import Candidate, Study, Task
from latentlab.search.trial import Trial
from latentlab.training.jobs import Job, Outcome, run_job_alone

STUDIES = Path(__file__).with_name(".studies")
SEEDS = (0, 1, 2)
IMAGES, HELD_OUT = 10_000, 5_000
TRIALS = {"none": 60, "halving": 50}
"""Trials per study, by pruner; halving takes about a fifth of the epochs of the other."""
BATCH = {"none": 4, "halving": 2}
"""Trials sampled together: the fewer, the more often the sampler gets results."""
EPOCHS = 12
MIN_EPOCHS, REDUCTION_FACTOR = 2, 12
"""After one epoch, small networks rank too high and RAdam too low; after two, hardly."""
SPEEDUP_TRIALS, SPEEDUP_EPOCHS = 8, 3
DRIVER_TRIALS = 60

SPACE = {
    "convolutions": {"type": "int", "low": 3, "high": 4},
    "train.model.channels": [
        {"type": "int", "low": 8, "high": 16, "step": 4, "when": {"convolutions": 3}},
        {"type": "int", "low": 8, "high": 20, "step": 4, "when": {"convolutions": 4}},
        {"type": "int", "low": 16, "high": 32, "step": 4},
        {"type": "int", "low": 32, "high": 64, "step": 8},
        {"type": "int", "low": 32, "high": 64, "step": 8, "when": {"convolutions": 4}},
    ],
    "train.model.hidden": {"type": "int", "low": 64, "high": 128, "step": 8},
    "train.learning_rate": {"type": "float", "low": 1e-4, "high": 8e-3, "log": True},
    "train.optimizer": {"type": "categorical", "choices": ["adam", "radam"]},
}
"""The search space of profiles/report-r1.yaml."""


def measure_pruning(folder: Path) -> dict[str, float]:
    """Return epochs and best losses with and without pruning, over seeds.

    This takes an hour and a half on two cores. An interrupted run resumes.
    """
    epochs: dict[str, list[int]] = {"none": [], "halving": []}
    best: dict[str, list[float]] = {"none": [], "halving": []}
    for seed, pruner in itertools.product(SEEDS, epochs):
        settings = study_params(TRIALS[pruner], EPOCHS, pruner)
        with processes(available_cores()) as executor:
            study = STUDIES / f"{_code_hash()[:12]}-{pruner}-{seed}"
            trials = run_study(folder, settings, seed, executor, study_dir=study)
        epochs[pruner].append(sum(trial.epochs for trial in trials))
        best[pruner].append(best_of(trials, settings).results[0])
        result = f"{epochs[pruner][-1]} epochs, best {best[pruner][-1]:.5f}"
        print(f"seed {seed}, {pruner}: {result}", flush=True)
    return {
        "pruned_epoch_share": sum(epochs["halving"]) / sum(epochs["none"]),
        "pruned_best_mse": statistics.mean(best["halving"]),
        "unpruned_best_mse": statistics.mean(best["none"]),
        "unpruned_best_mse_standard_error": statistics.stdev(best["none"]) / len(SEEDS) ** 0.5,
        "pruned_best_mse_standard_error": statistics.stdev(best["halving"]) / len(SEEDS) ** 0.5,
    }


def _code_hash() -> str:
    """Return the hash of the code that determines a study: the package and this file."""
    code = [*hash_tree(Path(latentlab.__file__).parent), sha256_of(Path(__file__))]
    return hashlib.sha256("\n".join(code).encode()).hexdigest()


def measure_workers(folder: Path) -> dict[str, float]:
    """Return the speedup by a second worker, and the overhead of the driver."""
    return {
        "two_worker_speedup": speedup(folder),
        "driver_ms_per_trial": driver_milliseconds(folder),
    }


def study_params(trials: int, epochs: int, pruner: str) -> StudyParams:
    """Return the settings of the study."""
    return StudyParams.model_validate(
        {
            "trials": trials,
            "epochs": epochs,
            "max_train_images": IMAGES,
            "batch": BATCH[pruner],
            "pruner": pruner,
            "min_epochs": MIN_EPOCHS,
            "reduction_factor": REDUCTION_FACTOR,
            "objectives": {"validation/mse": "minimize"},
            "space": SPACE,
        }
    )


def run_study(
    folder: Path,
    settings: StudyParams,
    seed: int,
    executor: Executor,
    work: Callable[[Job], Outcome] = run_job_alone,
    study_dir: Path | None = None,
) -> list[Trial]:
    """Run a study and return its trials; all studies use the same images.

    Its record is written to `study_dir`, or to a temporary folder.
    """
    chosen = stratified_sample(load_split(folder, "train").labels, IMAGES + HELD_OUT, seed=0)
    context = nullcontext(study_dir) if study_dir else tempfile.TemporaryDirectory()
    with context as place:
        task = Task(
            settings=settings,
            candidate=partial(candidate, settings),
            splits=[(chosen[:IMAGES], chosen[IMAGES:])],
            data_dir=folder,
            seed=seed,
            device="cpu",
            checkpoints=Path(place) / "checkpoints",
        )
        record = StudyRecord(Path(place), list(settings.objectives.values()))
        return list(Study(task, record, executor, work).trials())


def candidate(settings: StudyParams, values: dict) -> Candidate:
    """Return an autoencoder with latent dimension 2 and the values of a trial."""
    model = {
        "channels": values["train.model.channels"],
        "hidden": values["train.model.hidden"],
        "latent_dim": 2,
        "activation": "silu",
        "upsampling": "subpixel",
    }
    training = TrainParams.model_validate(
        {
            "model": model,
            "epochs": settings.epochs,
            "patience": None,
            "batch_size": 32,  # with 128, an epoch has only 78 steps
            "optimizer": values["train.optimizer"],
            "learning_rate": values["train.learning_rate"],
            "weight_decay": 0.0,
            "schedule": "cosine",  # with a warm-up, one epoch would say little about a trial
            "ema_decay": 0.99,  # the weights of single steps are noisy
        }
    )
    architecture = Architecture(image_shape=[1, 28, 28], **model)
    architecture.convolutions()
    return Candidate(training, partial(Autoencoder, architecture))


def speedup(folder: Path) -> float:
    """Return the wall time of a small study with one worker divided by that with two."""
    settings = study_params(SPEEDUP_TRIALS, SPEEDUP_EPOCHS, "none")
    seconds = {}
    for workers in (1, 2):
        with processes(workers) as executor:
            list(executor.map(time.sleep, [1.0] * workers))  # start the processes
            start = time.perf_counter()
            run_study(folder, settings, 0, executor)
            seconds[workers] = time.perf_counter() - start
        print(f"{workers} workers: {seconds[workers]:.1f} s", flush=True)
    return seconds[1] / seconds[2]


def driver_milliseconds(folder: Path) -> float:
    """Return the time per trial for sampling, recording and pruning, without training."""
    settings = study_params(DRIVER_TRIALS, EPOCHS, "halving")
    start = time.perf_counter()
    trials = run_study(folder, settings, 0, InlineExecutor(), simulate)
    return (time.perf_counter() - start) / len(trials) * 1e3


def simulate(job: Job) -> Outcome:
    """Return a learning curve without training."""
    stop_epoch = job.stop_epoch or job.settings.epochs
    rate = job.settings.learning_rate
    history = [
        {"epoch": epoch, "validation/mse": rate / epoch, "validation/loss": rate / epoch}
        for epoch in range(1, stop_epoch + 1)
    ]
    finished = stop_epoch == job.settings.epochs
    return Outcome(job.name, history, stop_epoch, 0, 0.0, 0.0, None, finished)
