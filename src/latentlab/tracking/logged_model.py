"""Logging saved networks as MLflow models, and finding them again.

A logged model consists of about ten files: the two files of the network, an archive of the modules
that load it, `served_model.py`, an input example, and MLflow's descriptions of model and
environment. MLflow's `log_model` is not used, because it loads every model once more to try the
example, which takes seconds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from latentlab.common.files import read_json, sha256_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd  # type: ignore[import-untyped] # MLflow requires it
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature

PACKAGE = Path(__file__).parents[1]

ARCHIVED = ("common", "data", "models", "params")
"""The packages that a network needs to be loaded and applied."""

REQUIREMENTS = ("torch", "numpy", "safetensors")
"""Packages that a network needs besides those that MLflow installs itself."""

DECODABLE = ("autoencoder", "vae")
"""Families whose decoder is logged as a second model."""


@dataclass(frozen=True)
class SavedNetwork:
    """A network that `save_model` wrote to `folder`, and what identifies it in MLflow.

    `name` distinguishes networks of one family in one stage; it may be empty. `classes` are the
    names of the classes, in the order of the labels. `images` [N, C, S, S] and their latent `codes`
    [N, L] are input examples. `epoch` is the one whose weights were kept.
    """

    folder: Path
    name: str
    classes: list[str]
    images: np.ndarray
    codes: np.ndarray
    epoch: int

    @property
    def description(self) -> dict[str, Any]:
        """The family and the configuration of the network."""
        description: dict[str, Any] = read_json(self.folder / "model.json")
        return description


def hash_of(folder: Path) -> str:
    """Return the hash of a saved network: its description contains the checksum of the weights."""
    return sha256_of(folder / "model.json")


def split_digest(data_hash: str, split: str) -> str:
    """Return the digest of a split in MLflow, which accepts at most 36 characters."""
    return f"{data_hash[:25]}-{split}"


def find_models(
    client: MlflowClient,
    experiment: str,
    model_hash: str,
    run_id: str | None = None,
    decoders: bool = False,
) -> list[LoggedModel]:
    """Return the models of the networks with this hash, or of their `decoders`, newest first.

    Equal networks have one model for each run that logged them; `run_id` selects one.
    """
    found = client.search_logged_models(
        [experiment],
        f"tags.model_hash = '{model_hash}' and tags.interface {'=' if decoders else '!='} 'decode'"
        + (f" and source_run_id = '{run_id}'" if run_id else ""),
        order_by=[{"field_name": "creation_timestamp", "ascending": False}],
    )
    return [model for model in found if model.status == "READY"]


def log_network(
    client: MlflowClient, experiment: str, run_id: str, network: SavedNetwork, tags: dict[str, str]
) -> str:
    """Log a network, and its decoder if it has one, as models of a run; return the network's id.

    `tags` say where it comes from. Models that the run has logged already are not logged again.
    """
    from mlflow.entities import LoggedModelOutput

    from latentlab.tracking.served_model import FAMILIES

    family = network.description["family"]
    digest = hash_of(network.folder)
    name = f"{family}-{network.name}" if network.name else family
    interfaces = {name: FAMILIES[family][2]}
    if family in DECODABLE:
        interfaces[f"{name}-decoder"] = "decode"
    ids = _logged_by(client, experiment, run_id, digest)
    missing = {each: interface for each, interface in interfaces.items() if each not in ids}
    params = client.get_run(run_id).data.params
    with TemporaryDirectory() as temporary:
        archive = Path(temporary) / "latentlab.zip"
        write_archive(archive)
        for each, interface in missing.items():
            metadata = _metadata(network, interface, tags | {"model_hash": digest})
            logged = client.create_logged_model(
                experiment, each, run_id, _as_tags(metadata), params, model_type=interface
            )
            folder = Path(temporary) / each
            _save(folder, network, logged, archive, metadata)
            client.log_model_artifacts(logged.model_id, str(folder))
            client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, network.epoch)])
            client.finalize_logged_model(logged.model_id, "READY")
            ids[each] = str(logged.model_id)
    return ids[name]


def _logged_by(
    client: MlflowClient, experiment: str, run_id: str, model_hash: str
) -> dict[str, str]:
    """Return the ids of the models of a network that a run has logged, by name.

    Models whose logging was interrupted are deleted.
    """
    ids = {}
    for model in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
        if model.status != "READY":
            client.delete_logged_model(model.model_id)
        elif model.tags["model_hash"] == model_hash:
            ids[model.name] = str(model.model_id)
    return ids


def _save(
    folder: Path,
    network: SavedNetwork,
    logged: LoggedModel,
    archive: Path,
    metadata: dict[str, Any],
) -> None:
    """Write the files of a logged model to a new folder."""
    import mlflow.pyfunc
    from mlflow.models import Model

    interface = metadata["interface"]
    mlflow.pyfunc.save_model(
        path=str(folder),
        mlflow_model=Model(
            artifact_path=logged.artifact_location,
            run_id=logged.source_run_id,
            model_uuid=logged.model_id,
            model_id=logged.model_id,
        ),
        metadata=metadata,
        python_model=str(PACKAGE / "tracking" / "served_model.py"),
        artifacts={"network": str(network.folder), "package": str(archive)},
        model_config={
            key: metadata[key] for key in ("family", "interface", "classes", "pixel_range")
        },
        signature=_signature(network, interface),
        input_example=_example(network, interface),
        # otherwise MLflow starts a slow process to infer them
        pip_requirements=[
            f"{package}=={version(package).split('+')[0]}" for package in REQUIREMENTS
        ],
    )


def _as_tags(metadata: dict[str, Any]) -> dict[str, str]:
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in metadata.items()
    }


def _metadata(network: SavedNetwork, interface: str, tags: dict[str, str]) -> dict[str, Any]:
    """Return what a user of the model has to know."""
    config = network.description["config"]
    clipped = config.get("corruption", {}).get("clip", True)
    return tags | {
        "family": network.description["family"],
        "interface": interface,
        "classes": network.classes,
        "image_shape": list(network.images.shape[1:]),
        # noise may move pixels of a corrupted image out of the range
        "pixel_range": [0.0, 1.0] if clipped else None,
        "latent_dim": network.codes.shape[1],
    }


def _is_conditional(network: SavedNetwork) -> bool:
    return bool(network.description["config"].get("class_shares"))


def _signature(network: SavedNetwork, interface: str) -> ModelSignature:
    """Return the types and shapes of inputs and outputs; the size of a batch is left open."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    def tensor(example: np.ndarray, name: str | None = None) -> TensorSpec:
        return TensorSpec(np.dtype("float32"), (-1, *example.shape[1:]), name)

    images, codes = Schema([tensor(network.images)]), Schema([tensor(network.codes)])
    if interface == "decode":
        return ModelSignature(codes, images)
    if interface == "reconstruct":
        outputs = [tensor(network.images, "reconstructions"), tensor(network.codes, "codes")]
        return ModelSignature(images, Schema([*outputs]))
    if interface == "classify":
        columns = [ColSpec("float", f"p({name})") for name in network.classes]
        return ModelSignature(images, Schema([ColSpec("string", "class"), *columns]))
    inputs = [ColSpec("long", "seed")]
    if _is_conditional(network):
        inputs.append(ColSpec("string", "class", required=False))
    return ModelSignature(Schema([*inputs]), images)


def _example(network: SavedNetwork, interface: str) -> np.ndarray | pd.DataFrame:
    """Return an example of an input, a batch of one or two."""
    import pandas as pd

    if interface == "decode":
        return network.codes
    if interface != "generate":
        return network.images
    example = pd.DataFrame({"seed": [0, 1]})
    return example.assign(**{"class": network.classes[:2]}) if _is_conditional(network) else example


def write_archive(target: Path) -> None:
    """Write the modules that load and apply a network to a ZIP file; equal code, equal bytes."""
    files = [PACKAGE / "__init__.py"]
    for package in ARCHIVED:
        files += sorted((PACKAGE / package).rglob("*.py"))
    with ZipFile(target, "w") as archive:
        for file in files:
            entry = ZipInfo(file.relative_to(PACKAGE.parent).as_posix())
            archive.writestr(entry, file.read_bytes(), ZIP_DEFLATED)
