"""Models on disk: `weights.safetensors` beside `model.json`, which says how to build the network.

A model that is stored has `family` (a name), `config` (plain values) and `from_config`.
"""

from pathlib import Path
from typing import TypeVar

from torch import nn

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.files import atomic_path, read_json, write_json

Model = TypeVar("Model", bound=nn.Module)


def save_model(model: nn.Module, folder: Path) -> None:
    """Write the weights and the description of a model."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    weights = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(folder / "weights.safetensors") as temporary:
        try:
            save_file(weights, temporary)
        except SafetensorError as fault:  # what of other files is an OSError
            raise EnvironmentProblem(f"{folder} cannot be written: {fault}") from None
    write_json(folder / "model.json", {"family": model.family, "config": model.config})


def load_model(kind: type[Model], folder: Path) -> Model:
    """Rebuild a model of class `kind` that `save_model` wrote, in evaluation mode, on the CPU.

    Raises EnvironmentProblem where there is none, a broken one or one of another family.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        description = read_json(folder / "model.json")
        weights = load_file(folder / "weights.safetensors")
    except FileNotFoundError as missing:
        raise EnvironmentProblem(f"no model in {folder} ({missing}); run `dvc repro`") from None
    except (SafetensorError, ValueError) as broken:
        raise _broken(folder, broken) from None
    try:
        if description["family"] != kind.family:
            raise EnvironmentProblem(
                f"{folder} holds a model of family '{description['family']}', not '{kind.family}'"
            )
        model = kind.from_config(description["config"])
        model.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as unfit:
        raise _broken(folder, unfit) from None
    return model.eval()


def _broken(folder: Path, fault: Exception) -> EnvironmentProblem:
    said = (str(fault).strip().splitlines() or [type(fault).__name__])[0]
    return EnvironmentProblem(
        f"the model in {folder} is broken ({said}); delete the folder and run `dvc repro`"
    )
