"""Write docs/benchmarks.md from results.json, and sections of other pages."""

from pathlib import Path

from latentlab.common.files import read_json, write_text

from . import gate, own_images
from .scaling import COUNTS
from .search import EPOCHS, MIN_EPOCHS, REDUCTION_FACTOR, SEEDS, TRIALS

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"

TEXT = """\
# Benchmarks

`make bench` builds its own environment, runs all benchmarks, and writes `benchmarks/results.json`
and this page. `benchmarks/run.sh scaling` repeats one part (throughput, quality, scaling, tracking,
serving, workers, pruning, gate, own_images). Seconds depend on the machine and its load; ratios are
more portable. [The explanation of the gate](explanation/gate.md#what-it-detects) has the results of
`gate`, and [the guide to your own images](how-to/own-images.md#derived-settings) those of
`own_images`.

{machines}

| quantity | result | target |
|---|--:|--:|
{targets}

## One training epoch

One epoch over the 60,000 training images of Fashion-MNIST, in batches of 256 with AdamW; medians of
{n} rounds.

| method | seconds per epoch | images per second |
|---|--:|--:|
{epochs}

Throughput of latentlab relative to the baselines, within each round:

| baseline | median | minimum | maximum |
|---|--:|--:|--:|
{ratios}

Each method has its own process with all cores and waits while another one is measured. All
autoencoders have channels 8, 16, 32 and sub-pixel upsampling, except the wide one (channels 16, 32,
64, hidden 128). latentlab is the class `Training` on the memory-mapped bytes that `fetch` writes,
with channels-last tensors and deterministic kernels, as in the pipeline. Lightning and the plain
loop read torchvision's `FashionMNIST` through `ToTensor` and a `DataLoader`, with torch's default
memory format; Lightning runs in its barebones mode. pythae trains its VAE with its own trainer on
the same encoder and decoder, from float images in memory. Setup is not included, and no method
validates (latentlab validates on one image, because its loop always validates).

The share of the matrix-product rate is the number of operations per second of a training step
(forward, and twice that backward) relative to that of a product of 1536 x 1536 float32 matrices
({gemm_gflops:.0f} GFLOP/s here).

## What limits an epoch

Profiled on {cpu}: in a step of the small network (ReLU), two fifths are the backward passes of its
convolutions, a fifth their forward passes, an eighth sub-pixel rearrangement and a twelfth ReLU;
linear layers, the optimizer, loading batches and Python together are the last fifth. In the wide
network (SiLU), convolutions are two thirds, SiLU a seventh and rearrangement a tenth.

The shape of the convolutions keeps both networks below the rate of a large matrix product. In the
backward pass, convolutions with 64 and 32 channels reach three quarters of that rate and those with
32 and 16 channels and stride 2 reach a third. Those next to the image, with 4 to 16 channels, reach
a quarter to a sixth, because they have too few channels to fill the vector units. All other layers
move memory without multiplying.

Lightning, the plain loop and pythae run the same kernels on the same shapes. The advantage of
latentlab comes from loading images (not for pythae, which has them as floats in memory),
channels-last tensors, memory that is not returned to the system, one fused optimizer and a loop
without synchronization. This explains the ratio above and its limit.

Tried without gain: strided convolutions as dense ones on rearranged images (1.5 to 3 times slower),
transposed convolutions instead of sub-pixel ones, torch.compile, and SiLU with a stored sigmoid for
the backward pass (saves a tenth of SiLU). Rearranging sub-pixels by blocks of channels takes half
the time of `PixelShuffle`, which saves a thirtieth of a step. All results on this page are for
float32. `precision: bfloat16` saves a fifth (small network) to a third (wide networks) of a step on
processors that multiply bfloat16.

## Time to quality

The target is a test MSE of {target} at latent dimension 8. The reference is a typical notebook:
channels 8, 16, 32 with transposed convolutions, Adam at 5e-4, batches of 300 from a `DataLoader`,
as a plain loop. It {reference} after {epochs_to_quality_reference} epochs and
{seconds_to_quality_reference:.0f} seconds, at {mse_at_quality_reference:.4f}. The recipe of
latentlab (channels 16, 32, 64, SiLU, sub-pixel, one-cycle AdamW at 4e-3, batches of 128, 5 epochs)
reaches {mse_at_quality:.4f} after {seconds_to_quality:.0f} seconds.

## Scaling

One epoch of the small autoencoder on repeated images. Memory is that of the process without pages
of the image file, which the system can discard.

| images on disk | seconds | images per second | MB |
|--:|--:|--:|--:|
{scaling}

## MLflow

The stage `train` with 15 epochs of Fashion-MNIST took {mlflow_seconds_in_all:.0f} s. It waited
{mlflow_seconds_waited:.2f} s for the process that logs to MLflow, which used
{mlflow_seconds_of_all_cores:.1f} s of all cores.

## Serving

`mlflow models serve` answered requests with one image of 28 x 28 pixels each, from one client that
sends one request after the other: {serve_p50_ms:.1f} ms (median) and {serve_p99_ms:.1f} ms (99th
percentile) with a classifier on an encoder with channels 16, 32, 64. The same call without the
server takes {serve_in_memory_p50_ms:.1f} ms (median). Other programs were running: {serve_load:.1f}
processes on {serve_cores} cores just before the measurement.

## Search

{pruning}

With two workers, a small study is {two_worker_speedup:.2f} times as fast as with one. Without the
time for training, the driver takes {driver_ms_per_trial:.0f} ms per trial to sample it, to record
its rungs and to decide about its promotion. Logging to MLflow is done by another process and not
included.
"""

PRUNING = """\
Trials have up to {epochs_of_a_trial} epochs, three or four convolutions and latent dimension 2
(the search space of `profiles/report-r1.yaml`). They train on 10,000 images and are evaluated on
5,000 others, over {seeds} seeds. With successive halving, which promotes one trial in
{reduction_factor} after {min_epochs} epochs, the studies trained {pruned_epoch_share:.1%} of the
epochs; their best error is {difference:.1%} {direction} than without pruning.

| pruner | trials | best MSE, mean | standard error |
|---|--:|--:|--:|
| none | {all} | {unpruned_best_mse:.5f} | {unpruned_best_mse_standard_error:.5f} |
| halving | {some} | {pruned_best_mse:.5f} | {pruned_best_mse_standard_error:.5f} |"""
NOT_MEASURED = "not measured"

METHODS = {
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
    "throughput_ratio": "the faster of these two",
    "pythae_epoch_ratio": "pythae, VAE",
}
TARGETS = {
    "throughput_ratio": ("throughput relative to the faster of Lightning and a plain loop", "3.5"),
    "gemm_share_small": ("share of the matrix-product rate, small network", "30%"),
    "gemm_share_wide": ("share of the matrix-product rate, wide network", "55%"),
    "time_to_quality_ratio": ("speedup to test MSE 0.0152 at latent dimension 8", "20"),
    "pythae_epoch_ratio": ("speedup of a VAE epoch relative to pythae", "3"),
    "pruned_epoch_share": ("epochs of a study with pruning relative to without", "at most 20%"),
    "driver_ms_per_trial": ("overhead of the search driver, milliseconds per trial", "at most 100"),
    "two_worker_speedup": ("speedup of a study by a second worker", ""),
    "mlflow_share": ("share of MLflow in the time of a training", "at most 3%"),
    "serve_p50_ms": ("latency of a request with one image, median in ms", ""),
    "serve_p99_ms": ("latency of a request with one image, 99th percentile in ms", ""),
    "gate_false_alarms_of_20": ("unchanged pipelines of 20 that fail the gate", "at most 1"),
    "gate_caught_of_15": ("regressions of 15 that the gate catches", "15"),
}
IMAGES = 60_000
HARDWARE = ("cpu", "cores")
"""Entries of a machine that are not versions of packages."""


def main() -> None:
    """Write the page and the section."""
    results = read_json(RESULTS)
    reached = results["time_to_quality_reached_by_reference"]
    sections = {
        "targets": "\n".join(target_row(results, name) for name in TARGETS),
        "epochs": "\n".join(epoch_row(results, name) for name in METHODS),
        "ratios": "\n".join(ratio_row(results, name) for name in RATIOS),
        "scaling": "\n".join(scaling_row(results, count) for count in COUNTS),
        "reference": "reaches the target" if reached else "was stopped without reaching it",
        "target": "0.0152",
        "pruning": pruning(results),
        "machines": machines(results["machines"]),
        "cpu": results["machines"]["throughput"]["cpu"],
        "serve_cores": results["machines"]["serving"]["cores"],
    }
    write_text(PAGE, TEXT.format_map(results | sections))
    gate.write_section()
    own_images.write_section(results)


def pruning(results: dict) -> str:
    """Describe the effect of pruning, unless it was not measured because it takes hours."""
    if "pruned_epoch_share" not in results:
        return f"Successive halving: {NOT_MEASURED} (`benchmarks/run.sh pruning`)."
    difference = results["pruned_best_mse"] / results["unpruned_best_mse"] - 1
    return PRUNING.format(
        **results,
        all=TRIALS["none"],
        some=TRIALS["halving"],
        seeds=len(SEEDS),
        epochs_of_a_trial=EPOCHS,
        min_epochs=MIN_EPOCHS,
        reduction_factor=REDUCTION_FACTOR,
        difference=abs(difference),
        direction="higher" if difference > 0 else "lower",
    )


def machines(measured_on: dict[str, dict]) -> str:
    """List the machines, each with the parts that were measured on it."""
    parts: dict[str, list[str]] = {}
    for part, machine in measured_on.items():
        versions = ", ".join(f"{name} {machine[name]}" for name in machine if name not in HARDWARE)
        description = f"{machine['cpu']}, {machine['cores']} cores, with {versions}"
        parts.setdefault(description, []).append(part)
    return "\n".join(f"- {', '.join(names)}: {description}" for description, names in parts.items())


def target_row(results: dict, name: str) -> str:
    """Format a result and its target."""
    label, target = TARGETS[name]
    if name not in results:
        return f"| {label} (`{name}`) | {NOT_MEASURED} | {target} |"
    value = f"{results[name]:.1%}" if "%" in target else f"{results[name]:.2f}"
    if isinstance(results[name], int):  # a count
        value = str(results[name])
    if name == "time_to_quality_ratio" and not results["time_to_quality_reached_by_reference"]:
        value = f"more than {value}"
    return f"| {label} (`{name}`) | {value} | {target} |"


def epoch_row(results: dict, name: str) -> str:
    """Format seconds and images per second."""
    seconds = results[f"seconds_{name}"]
    return f"| {METHODS[name]} | {seconds:.2f} | {IMAGES / seconds:,.0f} |"


def ratio_row(results: dict, name: str) -> str:
    """Format median and range."""
    low, high = results[f"{name}_min"], results[f"{name}_max"]
    return f"| {RATIOS[name]} | {results[name]:.2f} | {low:.2f} | {high:.2f} |"


def scaling_row(results: dict, count: int) -> str:
    """Format time and memory."""
    seconds = results[f"scaling_seconds_{count}"]
    memory = results[f"scaling_megabytes_{count}"]
    return f"| {count:,} | {seconds:.2f} | {count / seconds:,.0f} | {memory:.0f} |"


if __name__ == "__main__":
    main()
