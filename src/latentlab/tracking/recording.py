"""The MLflow runs of one stage execution, as commands that can be repeated.

If a connection breaks, it is unknown whether the server executed a command. It is then executed
again, so every command leaves the store as it is if it was executed before.
"""

from __future__ import annotations

import json
import math
import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentlab.common.progress import short
from latentlab.tracking.execution import DIFF, PROCESS_TAGS
from latentlab.tracking.logged_model import SavedNetwork, find_models, log_network, split_digest
from latentlab.tracking.store import connect, end_abandoned_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from latentlab.common.project import Project

INHERITED_TAGS = {
    "stage",
    "dataset",
    "data_hash",
    "seed",
    "device",
    "fingerprint",
    "git_commit",
    "git_dirty",
    "mlflow.source.git.commit",
    "dvc_exp_name",
}
"""Tags of a stage's run that its nested runs have too, so that one filter finds both."""

TABLES_TAG = "mlflow.loggedArtifacts"
"""MLflow's tag with the names of the tables that its UI can compare."""

CONTEXTS = {"train": "training", "validation": "validation", "test": "testing"}
"""MLflow's name for the use of each split."""


KILLED = ("KILLED", "its process was killed")
"""Status and reason of a run whose process is gone."""


class Recording:
    """The MLflow runs of one stage execution.

    Its methods take the name of a nested run, or None for the run of the stage itself.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._ids: dict[str | None, str] = {}
        self._experiment = ""
        self._process: dict[str, str] = {}
        """Those tags of the stage's run that are in `PROCESS_TAGS`."""
        self._inherited: dict[str, Any] = {}
        """Those tags of the stage's run that are in `INHERITED_TAGS`."""
        self._epochs: dict[str | None, int] = {}
        """The last epoch logged, by run."""
        self._splits: set[tuple[str | None, str]] = set()
        """The runs and splits that are logged as inputs."""
        self._logged: dict[str | None, set[tuple[str, int, float]]] = {}
        """Metrics that a resumed run already has: name, step, value."""
        self._images: dict[str | None, set[tuple[str, int]]] = {}
        """Images that are logged: name, step."""
        self._models: dict[str | None, dict[str, str]] = {}
        """Ids of the models that metrics describe, by run and beginning of the metric's name."""

    @property
    def _client(self) -> MlflowClient:
        import mlflow

        return mlflow.MlflowClient()

    def start(self, tags: dict[str, str], diff: str | None, resume: bool, time: float) -> None:
        """Open the store, end abandoned runs, and start the run of the stage.

        `tags` are those of `execution_tags` and `diff` the uncommitted changes. With `resume`, an
        interrupted run of the same fingerprint is continued instead.
        """
        self._experiment = connect(self._project, f"latentlab/{tags['dataset']}")
        end_abandoned_runs(self._experiment)
        self._process = {name: tags[name] for name in PROCESS_TAGS}
        tags = tags | {"git_dirty": str(diff is not None).lower()}
        self._inherit(tags)
        started = self._find("tags.kind = 'stage'", f"tags.execution = '{tags['execution']}'")
        if started is None and resume:
            same = f"tags.fingerprint = '{tags['fingerprint']}'"
            started = self._find("tags.kind = 'stage'", same, "attributes.status != 'RUNNING'")
        if started is None:
            run = self._client.create_run(
                self._experiment, _milliseconds(time), tags, run_name=tags["stage"]
            )
            self._ids[None] = run.info.run_id
        else:
            self._resume(None, started)
        if diff:
            self._client.log_text(self._ids[None], diff, DIFF)

    def log_params(self, run: str | None, params: dict[str, Any]) -> None:
        """Log flat parameters."""
        import mlflow

        mlflow.log_params(params, run_id=self._ids[run])

    def log_metrics(
        self, run: str | None, metrics: dict[str, float], step: int, time: float
    ) -> None:
        """Log metrics at a step and a Unix time, except those that are logged already."""
        import mlflow

        logged = self._logged.get(run, set())
        new = {name: value for name, value in metrics.items() if (name, step, value) not in logged}
        mlflow.log_metrics(new, step=step, run_id=self._ids[run], timestamp=_milliseconds(time))

    def log_epoch(
        self, run: str | None, metrics: dict[str, float], epoch: int, ended: float
    ) -> None:
        """Log the metrics of an epoch that ended at a Unix time, unless it is logged already."""
        if epoch > self._epochs.get(run, 0):
            self.log_metrics(run, metrics, epoch, ended)
            self._epochs[run] = epoch

    def set_tags(self, run: str | None, tags: dict[str, Any]) -> None:
        """Set tags of a run."""
        if run is None:
            self._inherit(tags)
        for key, value in tags.items():
            self._client.set_tag(self._ids[run], key, value)

    def log_table(self, run: str | None, name: str, rows: list[dict[str, Any]]) -> None:
        """Log rows as the table `<name>.json`, in the format of MLflow's `log_table`.

        That function appends rows to a table that exists, so it could not be repeated.
        """
        file = f"{name}.json"
        data = [[_json_value(value) for value in row.values()] for row in rows]
        self._client.log_dict(self._ids[run], {"columns": list(rows[0]), "data": data}, file)
        tags = self._client.get_run(self._ids[run]).data.tags
        tables = json.loads(tags.get(TABLES_TAG, "[]"))
        table = {"path": file, "type": "table"}
        if table not in tables:
            self.set_tags(run, {TABLES_TAG: json.dumps([*tables, table])})

    def log_image(self, run: str | None, name: str, step: int, png: bytes, time: float) -> None:
        """Log the content of a PNG file, drawn at a Unix time, unless the step has the image."""
        from PIL import Image

        if run not in self._images:
            files = self._client.list_artifacts(self._ids[run], "images")
            self._images[run] = {match for file in files if (match := _image_of(file.path))}
        if (name, step) in self._images[run]:
            return
        # if this fails halfway, the next attempt looks at the files again
        images = self._images.pop(run)
        with Image.open(BytesIO(png)) as image:
            self._client.log_image(
                self._ids[run], image, key=name, step=step, timestamp=_milliseconds(time)
            )
        self._images[run] = images | {(name, step)}

    def log_files(self, run: str | None, path: Path) -> None:
        """Log a file, or a folder under its own name, as artifacts."""
        import mlflow

        if path.is_dir():
            mlflow.log_artifacts(str(path), path.name, run_id=self._ids[run])
        else:
            mlflow.log_artifact(str(path), run_id=self._ids[run])

    def set_name(self, run: str | None, name: str) -> None:
        """Rename a run; add the name of the DVC experiment."""
        if "dvc_exp_name" in self._inherited:
            name += f" ({self._inherited['dvc_exp_name']})"
        self._client.update_run(self._ids[run], name=name)

    def describe(self, run: str | None, metrics: dict[str, float], text: str = "") -> None:
        """Write the description of a run: Markdown, metrics, and how to reproduce them."""
        tags = self._inherited
        rows = [f"| {name} | {short(value)} |" for name, value in metrics.items()]
        steps = [f"Data hash: `{tags['data_hash']}`"] if "data_hash" in tags else []
        if "git_commit" in tags:
            steps.append(
                f"Reproduce: `git checkout {tags['git_commit']}`, `dvc repro {tags['stage']}`"
            )
        if tags["git_dirty"] == "true":
            steps.append(f"The work tree had uncommitted changes: see the artifact `{DIFF}`")
        table = ["| metric | value |", "|---|--:|", *rows, ""] if rows else []
        parts = [*([text] if text else []), *table, "\n\n".join(steps)]
        self.set_tags(run, {"mlflow.note.content": "\n".join(parts)})

    def log_split(self, run: str | None, name: str, digest: str, split: str, files: str) -> None:
        """Log a split as an input of a run, once; `files` are the names of the raw files."""
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.entities import DatasetInput, InputTag

        if (run, split) in self._splits:
            return
        source = CodeDatasetSource(tags={"files": files, "split": split})
        # MLflow leaves `profile` abstract by mistake
        digest = split_digest(digest, split)
        dataset = MetaDataset(source, name=name, digest=digest)  # type: ignore[abstract]
        context = [InputTag("mlflow.data.context", CONTEXTS[split])]
        self._client.log_inputs(
            self._ids[run], [DatasetInput(dataset._to_mlflow_entity(), context)]
        )
        self._splits.add((run, split))

    def log_model(
        self,
        run: str | None,
        folder: Path,
        name: str,
        classes: list[str],
        images: list[Any],
        codes: list[Any],
        epoch: int,
    ) -> None:
        """Log a saved network, to which the headline metrics of the run are then attached.

        The arguments are the fields of `SavedNetwork`, with nested lists instead of arrays.
        """
        import numpy as np

        examples = np.asarray(images, np.float32), np.asarray(codes, np.float32)
        network = SavedNetwork(folder, name, classes, *examples, epoch)
        names = ("stage", "dataset", "data_hash", "fingerprint", "git_commit")
        tags = {key: self._inherited[key] for key in names if key in self._inherited}
        self._models[run] = {
            "": log_network(self._client, self._experiment, self._ids[run], network, tags)
        }

    def log_evaluated_models(self, run: str | None, hashes: dict[str, str]) -> None:
        """Log the models with these hashes as inputs; those that are not in the store are left out.

        The keys are the beginnings of the names of their metrics, without the split.
        """
        from mlflow.entities import LoggedModelInput

        found = {
            each: find_models(self._client, self._experiment, each) for each in {*hashes.values()}
        }
        self._models[run] = {
            f"{prefix}/": models[0].model_id
            for prefix, digest in hashes.items()
            if (models := found[digest])
        }
        inputs = [LoggedModelInput(model_id) for model_id in {*self._models[run].values()}]
        if inputs:
            self._client.log_inputs(self._ids[run], models=inputs)

    def log_headlines(
        self, run: str | None, metrics: dict[str, float], step: int, time: float
    ) -> None:
        """Log metrics named `<split>/...` with the model that they describe, and with the split."""
        from mlflow.entities import Metric

        tags = self._inherited
        logged = self._logged.get(run, set())
        points = []
        for name, value in metrics.items():
            if (name, step, value) in logged:
                continue
            split, _, rest = name.partition("/")
            model = next(
                (m for prefix, m in self._models.get(run, {}).items() if rest.startswith(prefix)),
                None,
            )
            dataset: tuple[str | None, str | None] = (None, None)
            if split in CONTEXTS and "data_hash" in tags:
                dataset = tags["dataset"], split_digest(tags["data_hash"], split)
            points.append(Metric(name, value, _milliseconds(time), step, model, *dataset))
        self._client.log_batch(self._ids[run], metrics=points)

    def start_child(self, name: str, kind: str, time: float) -> None:
        """Start a nested run of a kind, at a Unix time, or resume the one with this name."""
        parent = f"tags.`mlflow.parentRunId` = '{self._ids[None]}'"
        existing = self._find(parent, f"attributes.run_name = '{name}'")
        if existing is not None:
            self._resume(name, existing)
            return
        tags = self._inherited | self._process
        tags |= {"mlflow.parentRunId": self._ids[None], "kind": kind}
        run = self._client.create_run(self._experiment, _milliseconds(time), tags, run_name=name)
        self._ids[name] = run.info.run_id

    def end_child(self, name: str, status: str, time: float) -> None:
        """End a nested run, at a Unix time."""
        self._client.set_terminated(self._ids[name], status, _milliseconds(time))
        del self._ids[name]

    def _inherit(self, tags: dict[str, Any]) -> None:
        """Remember tags of the stage's run for its nested runs."""
        self._inherited |= {key: str(tags[key]) for key in tags if key in INHERITED_TAGS}

    def _find(self, *conditions: str) -> str | None:
        """Return the id of the latest run that meets all conditions, or None."""
        runs = self._client.search_runs([self._experiment], " and ".join(conditions), max_results=1)
        return runs[0].info.run_id if runs else None

    def _resume(self, name: str | None, run_id: str) -> None:
        """Log further metrics to an interrupted run, without repeating those that it has."""
        self._ids[name] = run_id
        self._client.update_run(run_id, status="RUNNING")
        self.set_tags(name, self._process)
        data = self._client.get_run(run_id).data
        if "reason" in data.tags:
            self._client.delete_tag(run_id, "reason")  # of the interruption
        points = [
            point for key in data.metrics for point in self._client.get_metric_history(run_id, key)
        ]
        self._logged[name] = {(point.key, point.step, point.value) for point in points}
        per_epoch = [point.step for point in points if point.key.startswith("train/")]
        self._epochs[name] = max(per_epoch, default=0)

    def end(self, status: str, reason: str | None, time: float) -> None:
        """End all open runs, the run of the stage last; `reason` says why it did not finish."""
        for name in [name for name in self._ids if name is not None]:
            self.end_child(name, status, time)
        if None not in self._ids:  # it could not be started
            return
        if reason is not None:
            self.set_tags(None, {"reason": reason})
        self._client.set_terminated(self._ids[None], status, _milliseconds(time))


def _milliseconds(time: float) -> int:
    """Convert a Unix time to MLflow's unit."""
    return int(time * 1000)


def _json_value(value: Any) -> Any:
    """Return a cell of a table as JSON can represent it: null for NaN and infinite numbers."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _image_of(file: str) -> tuple[str, int] | None:
    """Return name and step of an image from the path at which MLflow stores its second file."""
    match = re.fullmatch(r"images/(.+)\+step\+(\d+)\+timestamp\+.+\.webp", file)
    return match and (match[1], int(match[2]))
