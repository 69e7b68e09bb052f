"""Write docs/benchmarks.md from results.json."""

from pathlib import Path

from latentlab.common.files import read_json, write_text

from growth import COUNTS
from search import EPOCHS, FIRST_RUNG, REDUCTION, SEEDS, TRIALS

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"

TEXT = """\
# Benchmarks

`make bench` builds an environment of its own, measures, and writes `benchmarks/results.json` and
this page; `benchmarks/run.sh growth` measures one part (throughput, quality, growth, tracking,
workers, pruning) anew. Seconds belong to a machine in an hour; the ratios travel better.

{machines}

| what | reached | aim |
|---|--:|--:|
{aims}

## One training epoch

Over the 60,000 training images of Fashion-MNIST, in batches of 256 with AdamW; medians of {n}
rounds.

| | seconds per epoch | images per second |
|---|--:|--:|
{epochs}

How many times latentlab's throughput is theirs, within each round:

| against | median | lowest | highest |
|---|--:|--:|--:|
{ratios}

Every contender has a process of its own, with all cores, and waits while another takes its turn.
All autoencoders have channels 8, 16, 32 and sub-pixel upsampling, but for the wide one (16, 32,
64, hidden 128). latentlab is its own loop, `Training`, on the memory-mapped bytes that `fetch`
writes, with channels-last tensors and deterministic kernels, as in the pipeline. Lightning and
the plain loop read torchvision's `FashionMNIST` through `ToTensor` and a `DataLoader`, with
torch's default memory format; Lightning runs in its barebones mode. pythae trains its VAE with
its own trainer on the same encoder and decoder, from float images in memory. No set-up is counted
and nobody validates (latentlab on a single image, since its loop always does).

The share of the matrix-product rate is the operations of a training step (forward, and twice that
backward) per second, over those of a product of 1536 x 1536 float32 matrices ({gemm_gflops:.0f}
GFLOP/s here).

## What bounds an epoch

Profiled on {cpu}, a step of the small network (ReLU) is two fifths the backward passes
of its convolutions, a fifth their forward passes, an eighth sub-pixel rearrangement and a twelfth
ReLU; linear layers, the optimiser, the loading of batches and Python are the last fifth together.
In the wide network (SiLU) convolutions are two thirds, SiLU a seventh, rearrangement a tenth.

What keeps both from the rate of a large matrix product is the shape of the convolutions. On the way
back, those of 64 and 32 channels reach three quarters of that rate and those of 32 and 16 with
stride two a third; the ones next to the image, with 4 to 16 channels, reach a quarter to a sixth:
too few channels to fill the vector units. Everything else moves memory and multiplies nothing.

Lightning, the plain loop and pythae run the same kernels on the same shapes. What there is to win
from them is the loading of images (none of it in pythae, which has them as floats in memory),
channels-last tensors, kept memory, one fused optimiser and a loop that waits for nothing: that is
the ratio above, and why it ends there.

Tried without gain: strided convolutions as dense ones on rearranged images (1.5 to 3 times slower),
transposed ones in the place of sub-pixel ones, torch.compile, SiLU with its sigmoid kept for the
way back (a tenth of SiLU). Rearranging sub-pixels by blocks of channels takes half the time of
`PixelShuffle`, a thirtieth of a step. All that is measured here computes in float32; `precision:
bfloat16` takes a fifth (small network) to a third (wide networks) off a step where the processor
multiplies it.

## Time to quality

The reference is the usual notebook: channels 8, 16, 32 with transposed convolutions, Adam at
5e-4, batches of 300 from a `DataLoader`, as a plain loop. It {reference} test MSE {target} at
latent dimension 8, after {epochs_to_quality_reference} epochs and
{seconds_to_quality_reference:.0f} seconds (test MSE {mse_at_quality_reference:.4f}). latentlab's
recipe (channels 16, 32, 64, SiLU, sub-pixel, one-cycle AdamW at 4e-3, batches of 128, 5 epochs)
ends at {mse_at_quality:.4f} after {seconds_to_quality:.0f} seconds.

## Growth

One epoch of the small autoencoder on repeated images; memory is that of the process without pages
of the image file, which the system may drop.

| images on disk | seconds | images per second | MB |
|--:|--:|--:|--:|
{growth}

## MLflow

The stage `train` with 15 epochs of Fashion-MNIST took {mlflow_seconds_in_all:.0f} s; it waited
{mlflow_seconds_waited:.2f} s for the process that tells MLflow, and that took
{mlflow_seconds_of_all_cores:.1f} s of all cores.

## Search

{pruning}

Two workers did a small study {two_worker_speedup:.2f} times as fast as one. Where training takes no
time, the driver needs {driver_ms_per_trial:.0f} ms for a trial: to draw it, to enter it and its
rungs in the record, and to decide. MLflow is told of it by another process, which is not counted.
"""

PRUNING = """\
Trials of up to {epochs_of_a_trial} epochs, with three or four convolutions at latent dimension 2
(the space of `profiles/report-r1.yaml`), on 10,000 images, judged on 5,000 others, over {seeds}
seeds. With pruning by rungs, where one trial in {reduction} goes on after {min_epochs} epochs, they
trained {pruned_epoch_share:.1%} of the epochs; their best error is {apart:.1%} {side} that of
the others.

| | trials | best MSE, mean | standard error |
|---|--:|--:|--:|
| to the end | {all} | {unpruned_best_mse:.5f} | {unpruned_best_mse_standard_error:.5f} |
| pruned by rungs | {some} | {pruned_best_mse:.5f} | {pruned_best_mse_standard_error:.5f} |"""
NOT_MEASURED = "not measured"

CONTENDERS = {
    "latentlab": "latentlab",
    "latentlab_wide": "latentlab, wide network",
    "lightning_workers_0": "Lightning, no workers",
    "lightning_workers_2": "Lightning, 2 workers",
    "torch_workers_0": "plain torch loop, no workers",
    "torch_workers_2": "plain torch loop, 2 workers",
    "latentlab_vae": "latentlab, VAE",
    "pythae": "pythae, VAE",
}
RATIOS = {
    "throughput_ratio_lightning": "Lightning",
    "throughput_ratio_torch": "plain torch loop",
    "throughput_ratio": "the faster of the two",
    "pythae_epoch_ratio": "pythae, VAE",
}
AIMS = {
    "throughput_ratio": ("throughput against the faster of Lightning and a plain loop", "3.5", "x"),
    "gemm_share_small": ("share of the matrix-product rate, small network", "30%", "%"),
    "gemm_share_wide": ("share of the matrix-product rate, wide network", "55%", "%"),
    "time_to_quality_ratio": ("time to test MSE 0.0152 at latent dimension 8", "20", "x"),
    "pythae_epoch_ratio": ("a VAE epoch against pythae's", "3", "x"),
    "pruned_epoch_share": ("epochs of a study with pruning, of those without", "at most 20%", "%"),
    "driver_ms_per_trial": ("the driver of a study, milliseconds for a trial", "at most 100", "x"),
    "two_worker_speedup": ("a study with two workers against one", "", "x"),
    "mlflow_share": ("MLflow's share of a training", "at most 3%", "%"),
}
IMAGES = 60_000
PLACE = ("cpu", "cores")
"""What is told of a machine, beside versions of packages."""


def main() -> None:
    """Write the page."""
    results = read_json(RESULTS)
    reached = results["time_to_quality_reached_by_reference"]
    told = {
        "aims": "\n".join(aim_row(results, name) for name in AIMS),
        "epochs": "\n".join(epoch_row(results, name) for name in CONTENDERS),
        "ratios": "\n".join(ratio_row(results, name) for name in RATIOS),
        "growth": "\n".join(growth_row(results, count) for count in COUNTS),
        "reference": "reaches" if reached else "was stopped before it reached",
        "target": "0.0152",
        "pruning": pruning(results),
        "machines": machines(results["machines"]),
        "cpu": results["machines"]["throughput"]["cpu"],
    }
    page = TEXT.format_map(results | told)
    write_text(PAGE, page)


def pruning(results: dict) -> str:
    """What pruning saves; it takes more than an hour, and may have been left out."""
    if "pruned_epoch_share" not in results:
        return f"Pruning by rungs against none: {NOT_MEASURED} (`benchmarks/run.sh pruning`)."
    about = {"all": TRIALS["none"], "some": TRIALS["halving"], "seeds": len(SEEDS)}
    about |= {"epochs_of_a_trial": EPOCHS, "min_epochs": FIRST_RUNG, "reduction_factor": REDUCTION}
    apart = results["pruned_best_mse"] / results["unpruned_best_mse"] - 1
    about |= {"apart": abs(apart), "side": "above" if apart > 0 else "below"}
    return PRUNING.format(**results, **about)


def machines(measured_on: dict[str, dict]) -> str:
    """Where the parts were measured, those of one machine together."""
    parts: dict[str, list[str]] = {}
    for part, machine in measured_on.items():
        versions = ", ".join(f"{name} {machine[name]}" for name in machine if name not in PLACE)
        place = f"{machine['cpu']}, {machine['cores']} cores, with {versions}"
        parts.setdefault(place, []).append(part)
    return "\n".join(f"- {', '.join(names)}: on {place}" for place, names in parts.items())


def aim_row(results: dict, name: str) -> str:
    """What was to be reached, and what was."""
    label, aim, unit = AIMS[name]
    if name not in results:
        return f"| {label} (`{name}`) | {NOT_MEASURED} | {aim} |"
    value = f"{results[name]:.1%}" if unit == "%" else f"{results[name]:.2f}"
    if name == "time_to_quality_ratio" and not results["time_to_quality_reached_by_reference"]:
        value = f"more than {value}"
    return f"| {label} (`{name}`) | {value} | {aim} |"


def epoch_row(results: dict, name: str) -> str:
    """Seconds and images per second."""
    seconds = results[f"seconds_{name}"]
    return f"| {CONTENDERS[name]} | {seconds:.2f} | {IMAGES / seconds:,.0f} |"


def ratio_row(results: dict, name: str) -> str:
    """Median and spread."""
    low, high = results[f"{name}_min"], results[f"{name}_max"]
    return f"| {RATIOS[name]} | {results[name]:.2f} | {low:.2f} | {high:.2f} |"


def growth_row(results: dict, count: int) -> str:
    """Time and memory."""
    seconds = results[f"growth_seconds_{count}"]
    memory = results[f"growth_megabytes_{count}"]
    return f"| {count:,} | {seconds:.2f} | {count / seconds:,.0f} | {memory:.0f} |"


if __name__ == "__main__":
    main()
