"""Seconds per training epoch on Fashion-MNIST: latentlab, Lightning and a plain torch loop."""

import argparse
import gzip
import logging
import os
import platform
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import FashionMNIST
from torchvision.transforms import ToTensor

from latentlab.data.image_set import ImageSet, load_split, write_split
from latentlab.data.sources import locate, read_dataset
from latentlab.errors import LatentlabError
from latentlab.files import write_json
from latentlab.models.autoencoder import Autoencoder
from latentlab.params import OptimizationParams, RuntimeParams
from latentlab.runtime import available_cores, prepare
from latentlab.training.loop import Training

RESULTS = Path(__file__).with_name("results.json")
DATASET = "fashion-mnist"
IMAGES = 60_000
BATCH_SIZE = 256
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-4
CPU = torch.device("cpu")

Epoch = Callable[[], float]
"""Trains for one epoch and returns the seconds that it took."""


class LightningAutoencoder(lightning.LightningModule):
    """The autoencoder as a LightningModule that notes when its epochs end."""

    def __init__(self) -> None:
        super().__init__()
        self.model = make_model("subpixel")
        self.ends: list[float] = []

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        """The loss of one batch."""
        return self.model.loss_terms(*batch)["loss"]

    def on_train_epoch_end(self) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser that all contenders use."""
        return make_adamw(self.model)


def main() -> None:
    """Measure, print, and write the results of a whole run."""
    options = parse_options()
    prepare(RuntimeParams(seed=0, device="cpu", threads="auto"))
    silence_lightning()
    try:
        seconds = run(options.images, options.rounds)
    except LatentlabError as fault:
        raise SystemExit(str(fault)) from None
    results = summarise(seconds) | {"n": options.rounds, "images": options.images} | machine()
    for name, value in results.items():
        print(f"{name}: {value}")
    if options.images == IMAGES:
        write_json(RESULTS, results)


def run(count: int, rounds: int) -> dict[str, list[float]]:
    """Measure on the first `count` training images."""
    with tempfile.TemporaryDirectory() as folder:
        images = write_for_latentlab(Path(folder), count)
        dataset = unpack_for_torchvision(Path(folder), count)
        return measure(make_contenders(images, dataset, rounds), rounds)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="measured, after one to warm up")
    parser.add_argument(
        "--images", type=int, default=IMAGES, help="fewer for a quick look; writes no results"
    )
    return parser.parse_args()


def silence_lightning() -> None:
    """Hide advice on settings that were chosen on purpose."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


def write_for_latentlab(folder: Path, count: int) -> ImageSet:
    """The training images as the stage `fetch` writes and the others open them."""
    images, labels = read_dataset(DATASET, 28, "auto", Path("data")).splits["train"]
    write_split(folder / "train", images[:count], labels[:count])
    return load_split(folder, "train")


def unpack_for_torchvision(folder: Path, count: int) -> FashionMNIST:
    """The same training images as torchvision keeps them."""
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in locate(DATASET, Path("data")).glob("*-ubyte.gz"):
        with gzip.open(packed) as source, (raw / packed.stem).open("wb") as target:
            shutil.copyfileobj(source, target)
    dataset = FashionMNIST(folder, transform=ToTensor())
    dataset.data, dataset.targets = dataset.data[:count], dataset.targets[:count]
    return dataset


def make_model(upsampling: str) -> Autoencoder:
    """The autoencoder of the comparison, with the same first weights every time."""
    torch.manual_seed(0)
    return Autoencoder([1, 28, 28], [8, 16, 32], 64, 8, "relu", upsampling)


def make_adamw(model: nn.Module) -> torch.optim.Optimizer:
    """AdamW in one kernel, as latentlab's own loop builds it."""
    return torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
    )


def make_contenders(images: ImageSet, dataset: Dataset, rounds: int) -> dict[str, Epoch]:
    """What is compared, by the name that it has in the results."""
    return {
        "latentlab": make_latentlab(images, "subpixel", rounds),
        "lightning_workers_0": make_lightning(make_loader(dataset, 0)),
        "lightning_workers_2": make_lightning(make_loader(dataset, 2)),
        "torch_workers_0": make_torch(make_loader(dataset, 0)),
        "torch_workers_2": make_torch(make_loader(dataset, 2)),
        "latentlab_transposed": make_latentlab(images, "transposed", rounds),
    }


def make_latentlab(images: ImageSet, upsampling: str, rounds: int) -> Epoch:
    """Our own loop; one validation image, since the others do not validate."""
    settings = OptimizationParams(
        epochs=rounds + 1,
        patience=None,
        batch_size=BATCH_SIZE,
        optimizer="adamw",
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        schedule="constant",
    )
    validation = images.take(torch.arange(1))
    training = Training(make_model(upsampling), settings, images, validation, 0, CPU)
    epochs = training.epochs()

    def epoch() -> float:
        # only latentlab promises repeatable training, so only latentlab pays for it
        torch.use_deterministic_algorithms(True)
        start = time.perf_counter()
        next(epochs)
        return time.perf_counter() - start

    return epoch


def make_loader(dataset: Dataset, workers: int) -> DataLoader:
    """Shuffled batches; workers outlive an epoch."""
    return DataLoader(
        dataset, BATCH_SIZE, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )


def make_lightning(loader: DataLoader) -> Epoch:
    """Lightning with everything off that costs time; the second epoch is free of set-up."""
    module = LightningAutoencoder()

    def epoch() -> float:
        torch.use_deterministic_algorithms(False)
        trainer = lightning.Trainer(accelerator="cpu", devices=1, max_epochs=2, barebones=True)
        trainer.fit(module, loader)
        first, second = module.ends[-2:]
        return second - first

    return epoch


def make_torch(loader: DataLoader) -> Epoch:
    """The loop that one would write by hand."""
    model = make_model("subpixel")
    optimizer = make_adamw(model)

    def epoch() -> float:
        torch.use_deterministic_algorithms(False)
        start = time.perf_counter()
        for images, labels in loader:
            optimizer.zero_grad()
            model.loss_terms(images, labels)["loss"].backward()
            optimizer.step()
        return time.perf_counter() - start

    return epoch


def measure(contenders: dict[str, Epoch], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender in each round; in turns, so that all see the same machine."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for measured in range(rounds + 1):
        for name, epoch in contenders.items():
            taken = epoch()
            print(f"round {measured or 'to warm up'}: {name} {taken:.2f} s", flush=True)
            if measured:
                seconds[name].append(taken)
    return seconds


def summarise(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Medians of the seconds, and of the ratios to latentlab within each round."""
    results = {}
    for name, against in {"": "", "_lightning": "lightning", "_torch": "torch"}.items():
        ratios = list(ratios_by_round(seconds, against or ("lightning", "torch")))
        results[f"throughput_ratio{name}"] = statistics.median(ratios)
        results[f"throughput_ratio{name}_min"] = min(ratios)
        results[f"throughput_ratio{name}_max"] = max(ratios)
    medians = {f"seconds_{name}": statistics.median(each) for name, each in seconds.items()}
    return {name: round(value, 3) for name, value in (results | medians).items()}


def ratios_by_round(
    seconds: dict[str, list[float]], rivals: str | tuple[str, ...]
) -> Iterator[float]:
    """Seconds of the fastest rival over latentlab's, round by round."""
    chosen = [each for name, each in seconds.items() if name.startswith(rivals)]
    for own, *others in zip(seconds["latentlab"], *chosen, strict=True):
        yield min(others) / own


def machine() -> dict[str, str | int]:
    """What it ran on."""
    versions = {name: version(name) for name in ("torch", "lightning", "torchvision")}
    return {
        "cpu": cpu_model(),
        "cores": available_cores(),
        "python": platform.python_version(),
        **versions,
    }


def cpu_model() -> str:
    """The processor's name where the system tells it, else its architecture."""
    if os.path.exists("/proc/cpuinfo"):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
