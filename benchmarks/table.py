"""Write docs/benchmarks.md from results.json."""

from pathlib import Path

from latentlab.files import read_json, write_text

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"

CONTENDERS = {
    "latentlab": "latentlab",
    "latentlab_transposed": "latentlab, transposed convolutions",
    "lightning_workers_0": "Lightning, no workers",
    "lightning_workers_2": "Lightning, 2 workers",
    "torch_workers_0": "plain torch loop, no workers",
    "torch_workers_2": "plain torch loop, 2 workers",
}

TEXT = """\
# Benchmarks

One training epoch over the {images:,} training images of Fashion-MNIST, on the CPU. `make bench`
builds an environment of its own, measures, and writes `benchmarks/results.json` and this page.

| | seconds per epoch | images per second |
|---|--:|--:|
{rows}

How many times latentlab's throughput is theirs, side by side in one run:

| against | median | lowest | highest |
|---|--:|--:|--:|
{ratios}

All train the same autoencoder (channels 8, 16, 32; sub-pixel upsampling, but for the row that says
otherwise) with AdamW in batches of 256, on every core. latentlab is its own loop, `Training`, on
the memory-mapped bytes that `fetch` writes, with channels-last tensors and deterministic kernels,
as in the pipeline. Lightning and the plain loop read torchvision's `FashionMNIST` through
`ToTensor` and a `DataLoader`, with torch's default memory format; Lightning runs in its barebones
mode, without logger, checkpoints and progress bar. No set-up is counted, and nobody validates
(latentlab on a single image, since its loop always does).

Seconds are medians of {n} rounds after one to warm up. The contenders take turns within a round,
and a ratio is of one round: the seconds of the faster rival, with or without workers, over
latentlab's. So the ratios travel better to another machine than the seconds do.

Measured on {cpu}, {cores} cores, with Python {python}, torch {torch}, Lightning {lightning} and
torchvision {torchvision}.
"""

RATIOS = {
    "throughput_ratio_lightning": "Lightning",
    "throughput_ratio_torch": "plain torch loop",
    "throughput_ratio": "the faster of the two",
}


def main() -> None:
    """Write the page."""
    results = read_json(RESULTS)
    rows = "\n".join(
        f"| {label} | {seconds:.2f} | {results['images'] / seconds:,.0f} |"
        for name, label in CONTENDERS.items()
        for seconds in [results[f"seconds_{name}"]]
    )
    ratios = "\n".join(
        f"| {label} | {results[name]:.2f} | {results[f'{name}_min']:.2f} "
        f"| {results[f'{name}_max']:.2f} |"
        for name, label in RATIOS.items()
    )
    write_text(PAGE, TEXT.format(**results, rows=rows, ratios=ratios))


if __name__ == "__main__":
    main()
