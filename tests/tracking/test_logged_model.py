"""Models with metrics: what the Models page of MLflow shows and what its queries find."""

import mlflow
import numpy as np
import pytest
import torch

from latentlab.data.image_set import DatasetInfo, ImageSet
from latentlab.evaluation.reconstruction import reconstruction_metrics
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.io import save_model
from latentlab.params.geometry import Architecture
from latentlab.tracking.run import track

pytestmark = pytest.mark.filterwarnings(
    # MLflow's and torch's own, on the versions in the lock
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore:.*type hint is inferred as AnyType:UserWarning",
)

ARCHITECTURE = Architecture((1, 8, 8), [4], 8, 2)
INFO = DatasetInfo("shapes", ["a", "b"], [1, 8, 8], {}, [0.5], [0.1], {"f": "0"}, "d" * 64)
BYTES = torch.randint(256, (20, 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
TEST = ImageSet(BYTES, torch.arange(20) % 2)


@pytest.fixture
def train(project):
    """Return a function that logs a random autoencoder as the stage `train` does."""

    def train_once(name, seed=0, fail=False):
        torch.manual_seed(seed)
        model = Autoencoder(ARCHITECTURE).eval()
        save_model(model, project.root / name)
        with track(project, "train", "shapes", name) as run:
            run.log_dataset(INFO)
            run.log_params({"seed": seed})
            images = TEST.floats(slice(2))
            run.log_model(project.root / name, INFO, images, torch.zeros(2, 2), epoch=3)
            if fail:
                raise KeyboardInterrupt
            run.log_headlines({"validation/mse": seed + 0.5, "parameters": 7}, step=4)
        return model

    return train_once


@pytest.fixture
def models(runs):
    """Return a function that finds models by MLflow's query."""

    def search(filter_string="", **order):
        experiment = runs.client.get_experiment_by_name("latentlab/shapes")
        mlflow.set_tracking_uri(runs.client.tracking_uri)
        return mlflow.search_logged_models(
            [experiment.experiment_id],
            filter_string,
            order_by=[order] if order else None,
            output_format="list",
        )

    return search


def evaluate(project, folders, metrics):
    """Log test metrics as the stage `evaluate` does."""
    with track(project, "evaluate", "shapes", "fingerprint") as run:
        run.log_dataset(INFO)
        run.log_evaluated_models({prefix: project.root / each for prefix, each in folders.items()})
        run.log_headlines(metrics, step=0)


def test_a_model_has_the_headline_metrics_of_its_run_with_their_dataset(train, models, runs):
    train("small")

    network, decoder = models("name = 'autoencoder'") + models("name = 'autoencoder-decoder'")
    found = {m.key: (m.value, m.step, m.dataset_name, m.dataset_digest) for m in network.metrics}
    assert found == {
        "validation/mse": (0.5, 4, "shapes", f"{'d' * 25}-validation"),
        "parameters": (7, 4, None, None),
    }
    assert not decoder.metrics
    assert network.params == {"seed": "0"}
    (run,) = runs.all()
    assert run.data.metrics == {"validation/mse": 0.5, "parameters": 7}
    outputs = {each.model_id: each.step for each in run.outputs.model_outputs}
    assert outputs == {network.model_id: 3, decoder.model_id: 3}
    assert network.source_run_id == run.info.run_id
    assert runs.steps(run.info.run_name, "validation/mse") == [4]  # logged once


def test_the_best_autoencoder_by_test_error_is_found_by_one_query_and_reproduces_it(
    project, train, models
):
    errors = {}
    for seed, name in enumerate(["first", "second", "third"]):
        errors[name] = reconstruction_metrics(train(name, seed), TEST)["mse"]
        evaluate(project, {"autoencoder": name}, {"test/autoencoder/mse": errors[name]})

    best, *_ = models("name = 'autoencoder'", field_name="metrics.test/autoencoder/mse")

    assert {m.key: m.value for m in best.metrics}["test/autoencoder/mse"] == min(errors.values())
    loaded = mlflow.pyfunc.load_model(f"models:/{best.model_id}")

    def restore(images):
        return torch.from_numpy(loaded.predict(np.ascontiguousarray(images))["reconstructions"])

    assert reconstruction_metrics(restore, TEST)["mse"] == min(errors.values())


def test_evaluated_models_are_inputs_and_have_their_own_metrics(project, train, models, runs):
    train("first", 1)
    train("second", 2)
    metrics = {"test/denoise/unet/mse": 0.1, "test/denoise/unet2/mse": 0.2, "test/vae/mse": 0.3}
    evaluate(project, {"denoise/unet": "first", "denoise/unet2": "second"}, metrics)

    found = {
        model.params["seed"]: {m.key: m.value for m in model.metrics if m.key.startswith("test/")}
        for model in models("name = 'autoencoder'")
    }
    assert found == {"1": {"test/denoise/unet/mse": 0.1}, "2": {"test/denoise/unet2/mse": 0.2}}
    run = runs.client.get_run(runs["evaluate"].info.run_id)
    assert run.data.metrics == metrics
    inputs = {each.model_id for each in run.inputs.model_inputs}
    assert inputs == {model.model_id for model in models("name = 'autoencoder'")}


def test_models_that_are_not_in_the_store_are_left_out(project, runs):
    save_model(Autoencoder(ARCHITECTURE), project.root / "unknown")

    evaluate(project, {"autoencoder": "unknown"}, {"test/autoencoder/mse": 0.1})

    assert runs["evaluate"].data.metrics == {"test/autoencoder/mse": 0.1}
    run = runs.client.get_run(runs["evaluate"].info.run_id)
    assert not run.inputs.model_inputs


def test_a_resumed_run_does_not_log_its_model_again(project, train, models):
    with pytest.raises(KeyboardInterrupt):
        train("small", fail=True)
    project.checkpoints("train", "small").mkdir(parents=True)

    train("small")

    (network,) = models("name = 'autoencoder'")
    assert {m.key for m in network.metrics} == {"validation/mse", "parameters"}
