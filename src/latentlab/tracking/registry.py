"""The model registry: versions of the models in `outputs/`, and which of them is the champion.

The newest version that was promoted has the alias `challenger`, the version in use `champion`, and
the one that it replaced `previous`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from latentlab.common.errors import EnvironmentProblem, ParamsError
from latentlab.common.project import Project
from latentlab.tracking.logged_model import find_models, hash_of
from latentlab.tracking.store import brief, check_server, connect, open_client, store_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

PREFIX = "latentlab-"
"""Beginning of the names of registered models, followed by that of the logged model."""

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"

VERSION_TAGS = ("data_hash", "dataset", "git_commit", "fingerprint", "stage", "model_hash")
"""Tags of a logged model that its registered versions have too."""


@dataclass(frozen=True)
class Standing:
    """A registered model, and the versions with the aliases; empty if there is none."""

    name: str
    challenger: str
    champion: str
    previous: str


def register_outputs(
    project: Project, dataset: str, results: dict[str, Any], verdict: str, passed: bool
) -> list[Standing]:
    """Register the models in `outputs/` as challengers, and if the gate passed also as champions.

    A model that is registered already keeps its version. `results` are the metrics of the outputs
    as the gate names them, and `verdict` is its text. Raises EnvironmentProblem, and registers
    nothing, if a model is not in the store or was not evaluated with these results.
    """
    with _open_store(project) as client:
        experiment = connect(project, f"latentlab/{dataset}")
        models = _logged_models(project, client, experiment, results)
        versions = {PREFIX + model.name: _register(client, model, verdict) for model in models}
        for name, version in versions.items():
            client.set_registered_model_alias(name, CHALLENGER, version)
        if passed:
            _crown(client, versions)
        return [standing for standing in _standings(client) if standing.name in versions]


def roll_back(project: Project) -> list[Standing]:
    """Make the previous champions the champions again; return the models that have changed.

    Raises ParamsError if the last promotion replaced no champion, or was rolled back already.
    """
    with _open_store(project) as client:
        replaced = [standing for standing in _standings(client) if standing.previous]
        if not replaced:
            raise ParamsError(
                f"nothing to roll back: no model in {store_uri(project)} has the alias "
                f"'{PREVIOUS}'. `latentlab promote` sets it when it replaces a champion"
            )
        for each in replaced:
            client.set_registered_model_alias(each.name, CHAMPION, each.previous)
            client.delete_registered_model_alias(each.name, PREVIOUS)
        return [Standing(each.name, each.challenger, each.previous, "") for each in replaced]


@contextmanager
def _open_store(project: Project) -> Iterator[MlflowClient]:
    """Yield a client of the store; its errors become an EnvironmentProblem."""
    check_server(project)
    client = open_client(project)
    if client is None:
        raise EnvironmentProblem(
            f"there is no MLflow store at {store_uri(project)}. `dvc repro` creates it when it "
            "runs a stage; set MLFLOW_TRACKING_URI to use another store"
        )
    from mlflow import MlflowException

    try:
        yield client
    except MlflowException as error:
        raise EnvironmentProblem(
            f"the MLflow store {store_uri(project)} cannot be used: {brief(error)}"
        ) from error


def _logged_models(
    project: Project, client: MlflowClient, experiment: str, results: dict[str, Any]
) -> list[LoggedModel]:
    """Return the logged models of all networks in `outputs/`, and those of their decoders."""
    problems: list[str] = []
    models: list[LoggedModel] = []
    for folder in sorted(path.parent for path in (project.root / "outputs").rglob("model.json")):
        where, digest = folder.relative_to(project.root), hash_of(folder)
        equal = find_models(client, experiment, digest)
        evaluated = [model for model in equal if _has_results(model, results)]
        if not equal:
            problems.append(f"{where}: unknown; run `dvc repro -f -s {where.parts[1]}`")
        elif not evaluated:
            problems.append(
                f"{where}: outputs/evaluate/metrics.json does not describe this model; run "
                "`dvc repro -f -s evaluate`"
            )
        else:
            models.append(evaluated[0])
            models += find_models(client, experiment, digest, evaluated[0].source_run_id, True)
    if problems:
        raise EnvironmentProblem(
            f"no model was registered, because {store_uri(project)} does not contain all models "
            "with their test metrics. To run a stage again with this store:\n  "
            + "\n  ".join(problems)
        )
    return models


def _has_results(model: LoggedModel, results: dict[str, Any]) -> bool:
    """Return whether the model was evaluated, and a metric equals that of the outputs."""
    return any(results.get(f"evaluate/{m.key}") == m.value for m in model.metrics or [])


def _register(client: MlflowClient, model: LoggedModel, verdict: str) -> str:
    """Return the version of a model, which is created if the same network has none."""
    name = PREFIX + model.name
    tags = {key: model.tags[key] for key in VERSION_TAGS if key in model.tags} | {"gate": verdict}
    for metric in sorted(model.metrics or [], key=lambda metric: metric.timestamp):
        tags[metric.key] = str(metric.value)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    same = f"name = '{name}' and tags.model_hash = '{tags['model_hash']}'"
    versions = client.search_model_versions(same)
    if not versions:
        uri, run = f"models:/{model.model_id}", model.source_run_id
        created = client.create_model_version(name, uri, run, tags, model_id=model.model_id)
        # MLflow's UI links the logged model to its version with this tag
        link = json.dumps([{"name": name, "version": created.version}])
        client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": link})
        return str(created.version)
    version = versions[0]
    for key, value in tags.items():
        if version.tags.get(key) != value:
            client.set_model_version_tag(name, version.version, key, value)
    return str(version.version)


def _crown(client: MlflowClient, versions: dict[str, str]) -> None:
    """Make versions the champions, and remember the champions that they replace.

    Nothing changes if they are the champions already.
    """
    before = {standing.name: standing for standing in _standings(client)}
    if all(before[name].champion == version for name, version in versions.items()):
        return
    for name, standing in before.items():
        version = versions.get(name, standing.champion)
        if standing.champion and standing.champion != version:
            client.set_registered_model_alias(name, PREVIOUS, standing.champion)
        elif standing.previous:  # of an earlier promotion, which a rollback must not undo
            client.delete_registered_model_alias(name, PREVIOUS)
        if version != standing.champion:
            client.set_registered_model_alias(name, CHAMPION, version)


def _standings(client: MlflowClient) -> list[Standing]:
    """Return all models that `promote` has registered, by name."""
    models = client.search_registered_models(f"name LIKE '{PREFIX}%'")
    return sorted(
        (
            Standing(
                model.name,
                *(str(model.aliases.get(each, "")) for each in (CHALLENGER, CHAMPION, PREVIOUS)),
            )
            for model in models
        ),
        key=lambda standing: standing.name,
    )
