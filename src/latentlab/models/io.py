"""The contract of all models, and how they are saved and loaded.

A saved model is a folder with `weights.safetensors` and `model.json`, which holds the family, the
configuration from which the network is rebuilt, and the SHA-256 checksum of the weights. Neither
file contains code.
"""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from torch import Tensor, nn

from latentlab.common.errors import EnvironmentProblem
from latentlab.common.files import atomic_path, read_json, sha256_of, write_json

WEIGHTS = "weights.safetensors"
DESCRIPTION = "model.json"
NOT_TRAINED = "not_trained.json"
"""States why a stage has trained no model; its folder exists, because DVC expects it."""


class SavableModel(nn.Module):
    """Base class of every network that can be saved and loaded."""

    family: ClassVar[str]
    """Name of the model family, unique in the package."""

    config: dict[str, Any]
    """Values that JSON can hold and from which `from_config` builds the network."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build a network from its `config`, with newly initialized weights."""
        return cls(**config)


class TrainableModel(SavableModel):
    """Base class of every network that `training.loop.Training` can train."""

    @abstractmethod
    def loss_terms(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute named scalars, each a mean over the batch, with `loss` among them.

        `images` are [N, C, S, S] in [0, 1] and `labels` [N]. `loss` is minimized, and the mean of
        every term is recorded for each epoch.
        """

    @abstractmethod
    def latent_codes(self, images: Tensor) -> Tensor:
        """Map images [N, C, S, S] in [0, 1] to latent codes [N, L], which latent maps show."""

    def start_epoch(self, epoch: int) -> None:
        """Prepare for an epoch, counted from 1.

        Called before each epoch, also when training resumes in the middle of it.
        """


Model = TypeVar("Model", bound=SavableModel)


def save_model(model: SavableModel, folder: Path) -> None:
    """Write the weights and the description of a model.

    Raises EnvironmentProblem if the weights cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    weights = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(folder / WEIGHTS) as temporary:
        try:
            save_file(weights, temporary)
        except SafetensorError as error:  # safetensors raises its own type instead of OSError
            raise EnvironmentProblem(f"{folder} cannot be written: {error}") from None
    description = {
        "family": model.family,
        "config": model.config,
        "sha256": sha256_of(folder / WEIGHTS),
    }
    write_json(folder / DESCRIPTION, description)


def write_not_trained(folder: Path, reason: str) -> None:
    """Write to the folder of a model why there is none."""
    write_json(folder / NOT_TRAINED, {"reason": reason})


def load_model(model_class: type[Model], folder: Path) -> Model:
    """Load a model of class `model_class` in evaluation mode on the CPU.

    Raises EnvironmentProblem if there is no model in `folder`, if it is corrupt, or if it belongs
    to another family.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        description = read_json(folder / DESCRIPTION)
        checksum = sha256_of(folder / WEIGHTS)
    except FileNotFoundError as error:
        if (folder / NOT_TRAINED).is_file():
            reason = read_json(folder / NOT_TRAINED)["reason"]
            raise EnvironmentProblem(f"no model in {folder}: {reason}") from None
        raise EnvironmentProblem(f"no model in {folder} ({error}); run `dvc repro`") from None
    except ValueError as error:
        raise _corrupt(folder, error) from None
    try:
        if description["family"] != model_class.family:
            raise EnvironmentProblem(
                f"{folder} contains a model of the family '{description['family']}', "
                f"not '{model_class.family}'"
            )
        if description["sha256"] != checksum:
            raise ValueError(f"{WEIGHTS} does not have the checksum recorded in {DESCRIPTION}")
        model = model_class.from_config(description["config"])
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _corrupt(folder, error) from None
    return model.eval()


def weights_checksum(folder: Path) -> str:
    """Return the SHA-256 of the weights of a saved model."""
    return str(read_json(folder / DESCRIPTION)["sha256"])


def _corrupt(folder: Path, error: Exception) -> EnvironmentProblem:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return EnvironmentProblem(
        f"the model in {folder} is corrupt ({reason}); delete the folder and run `dvc repro`"
    )
