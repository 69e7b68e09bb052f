import shutil

import mlflow
import pytest
from ruamel.yaml import YAML

from crafting import FOUND, name_of, write_random_splits
from latentlab.common.files import write_text
from latentlab.data.image_set import DatasetInfo
from latentlab.models.io import save_model
from latentlab.models.reference import ReferenceClassifier

COMPARISON = {"parameter": "train.optimizer", "values": ["adam", "adagrad"], "epochs": 2}


class Bench:
    """A checkout with small random images; its stages run in this process and are logged."""

    def __init__(self, project, latentlab):
        self.project = project
        self.run = latentlab

    def edit(self, changes):
        """Change values of params.yaml at dotted paths; keep everything else."""
        yaml = YAML()
        document = yaml.load(self.project.params)
        for path, value in changes.items():
            *parents, leaf = path.split(".")
            section = document
            for name in parents:
                section = section[name]
            section[leaf] = value
        yaml.dump(document, self.project.params)

    def runs(self):
        """Return the runs of stages by stage, and nested runs by name."""
        client = mlflow.MlflowClient(f"sqlite:///{self.project.home / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("latentlab/digits")
        runs = client.search_runs([experiment.experiment_id])
        return {name_of(run): run for run in runs}


@pytest.fixture
def bench(checkout, latentlab, empty_store, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_store, checkout.home)
    data_dir = checkout.outputs("fetch")
    write_random_splits(data_dir, train=40, validation=24)
    sizes = {"train": 40, "validation": 24}
    info = DatasetInfo("digits", ["a", "b"], [1, 8, 8], sizes, [0.5], [0.3], {}, "0" * 64)
    info.write(data_dir)
    write_text(checkout.outputs("search") / "best_params.yaml", FOUND)
    save_model(
        ReferenceClassifier((1, 8, 8), [4, 6], 5, 2), checkout.outputs("reference") / "model"
    )
    bench = Bench(checkout, latentlab)
    small = {"data.image_size": 8, "runtime.device": "cpu", "runtime.threads": 1}
    small |= {f"{stage}.epochs": 3 for stage in ("train", "vae", "gan")}
    small |= {"gan.eval_samples": 64, "gan.batch_size": 64, "vae.model.channels": [4]}
    bench.edit(small | {"compare": {"optimizer": COMPARISON}, "denoise": {}})
    yield bench
    mlflow.set_tracking_uri(None)
