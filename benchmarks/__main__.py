"""Run all benchmarks, or those named, and write results.json. `make bench` also builds the page."""

import argparse
import platform
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from latentlab.common.errors import LatentlabError
from latentlab.common.files import read_json, write_json
from latentlab.common.processes import available_cores

RESULTS = Path(__file__).with_name("results.json")
PACKAGES = ("torch", "lightning", "torchvision", "pythae", "mlflow", "optuna")
PARTS = (
    *("throughput", "quality", "scaling", "tracking", "serving", "workers", "pruning"),
    *("gate", "own_images"),
)
WITHOUT_DATA = {"serving", "gate", "own_images"}
"""Parts that do not use Fashion-MNIST."""


def main() -> None:
    """Parse the command line, run the benchmarks and write their results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all")
    parser.add_argument(
        "--rounds", type=int, default=5, help="measured epochs per method, after a warm-up epoch"
    )
    options = parser.parse_args()
    from .data import prepare_data

    results = read_json(RESULTS) if RESULTS.exists() and options.parts else {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            if not options.parts or set(options.parts) - WITHOUT_DATA:
                prepare_data(Path(folder))
        except LatentlabError as error:
            raise SystemExit(str(error)) from None
        for part in options.parts or PARTS:
            results |= measure(part, Path(folder), options.rounds)
            if part == "throughput":
                results["n"] = options.rounds
            results["machines"] = results.get("machines", {}) | {part: machine()}
            write_json(RESULTS, {name: rounded(value) for name, value in results.items()})


def measure(part: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Run one benchmark on the data in `folder`.

    Modules are imported here because only some of them need the packages of requirements.txt.
    """
    if part == "throughput":
        from . import throughput

        return throughput.measure(folder, rounds)
    if part == "quality":
        from . import quality

        return quality.measure(folder)
    if part == "scaling":
        from . import scaling

        return scaling.measure()
    if part == "tracking":
        from . import tracking

        return tracking.measure()
    if part == "serving":
        from . import serving

        return serving.measure()
    if part == "gate":
        from . import gate

        return gate.measure()
    if part == "own_images":
        from . import own_images

        return own_images.measure()
    from . import search

    return search.measure_workers(folder) if part == "workers" else search.measure_pruning(folder)


def rounded(value: Any) -> Any:
    """Round floats, also in a dictionary, to four significant digits."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def machine() -> dict[str, str | int]:
    """Describe the machine and the versions of the packages."""
    return {
        "cpu": cpu_model(),
        "cores": available_cores(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES if find_spec(name)},
    }


def cpu_model() -> str:
    """Return the name of the processor if the system provides it, else its architecture."""
    source = Path("/proc/cpuinfo")
    if source.exists():
        for line in source.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
