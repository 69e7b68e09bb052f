"""Run the benchmarks, all or those named; write results.json. `make bench` does all of it."""

import argparse
import platform
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from latentlab.common.errors import LatentlabError
from latentlab.common.files import read_json, write_json
from latentlab.common.processes import available_cores

import growth
import quality
import search
import throughput
import tracking
from data import prepare_data

RESULTS = Path(__file__).with_name("results.json")
PACKAGES = ("torch", "lightning", "torchvision", "pythae", "mlflow", "optuna")

PARTS: dict[str, Callable[[Path, int], dict]] = {
    "throughput": throughput.measure,
    "quality": lambda folder, rounds: quality.measure(folder),
    "growth": lambda folder, rounds: growth.measure(),
    "tracking": lambda folder, rounds: tracking.measure(),
    "workers": lambda folder, rounds: search.measure_workers(folder),
    "pruning": lambda folder, rounds: search.measure_pruning(folder),
}


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all where none is named")
    parser.add_argument("--rounds", type=int, default=5, help="of the epochs, after one to warm up")
    options = parser.parse_args()
    results = read_json(RESULTS) if RESULTS.exists() and options.parts else {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            prepare_data(Path(folder))
        except LatentlabError as fault:
            raise SystemExit(str(fault)) from None
        for part in options.parts or PARTS:
            results |= PARTS[part](Path(folder), options.rounds)
            if part == "throughput":
                results["n"] = options.rounds
            results["machines"] = results.get("machines", {}) | {part: machine()}
            write_json(RESULTS, {name: rounded(value) for name, value in results.items()})


def rounded(value: Any) -> Any:
    """Four significant digits of a number, anything else as it is."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def machine() -> dict[str, str | int]:
    """What it ran on."""
    return {
        "cpu": cpu_model(),
        "cores": available_cores(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def cpu_model() -> str:
    """The processor's name where the system tells it, else its architecture."""
    told = Path("/proc/cpuinfo")
    if told.exists():
        for line in told.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
