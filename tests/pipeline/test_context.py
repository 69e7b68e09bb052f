import pytest
import torch

from latentlab.common.errors import ParamsError
from latentlab.common.files import read_json
from latentlab.data.image_set import DatasetInfo
from latentlab.evaluation.baselines import Comparison
from latentlab.params.load import load_params
from latentlab.pipeline.context import StageContext, prepare_stage
from latentlab.pipeline.review import Review
from latentlab.tracking.run import NullRecorder, Run
from latentlab.training.diagnosis import Finding


class LoggedCommands(NullRecorder):
    """A recorder that remembers the commands it receives."""

    def __init__(self):
        self.commands = []

    def send(self, command, *arguments):
        self.commands.append((command, *arguments))


@pytest.fixture
def recorder():
    return LoggedCommands()


@pytest.fixture
def stage(checkout, recorder):
    params = load_params(checkout.params)
    return StageContext("train", "f" * 64, checkout, params, torch.device("cpu"), Run(recorder))


def summary(stage, metrics, capsys):
    stage.write_metrics(metrics)
    return capsys.readouterr().err


def test_a_stage_prints_its_headline_metrics_and_how_many_it_leaves_out(stage, capsys):
    metrics = {
        "epochs": 12,
        "train": {"mse": 0.3},
        "validation": {"mse": 0.123456, "psnr": 9.0, "ssim": 0.5},
        "parameters": 1200,
    }

    printed = summary(stage, metrics, capsys)

    assert printed == (
        "train: validation/mse 0.1235, validation/psnr 9, parameters 1,200, 3 more; "
        "outputs/train/metrics.json\n"
    )
    assert read_json(stage.output / "metrics.json") == metrics


def test_a_stage_without_headline_metrics_prints_its_first_metrics(stage, capsys):
    metrics = {"classes": 2, "images": {"train": 1200, "validation": 300}}

    assert summary(stage, metrics, capsys) == (
        "train: classes 2, images/train 1,200, images/validation 300; outputs/train/metrics.json\n"
    )


def test_a_stage_without_metrics_says_so(stage, capsys):
    assert summary(stage, {}, capsys) == "train: no metrics; outputs/train/metrics.json\n"


def test_headline_metrics_are_logged_at_the_last_epoch_together_with_files(stage, recorder):
    stage.plots.mkdir(parents=True)

    stage.write_metrics({"epochs": 12, "validation": {"mse": 0.5}})

    logged = {"validation/mse": 0.5}
    (*command, _time), *others = recorder.commands
    assert command == ["log_headlines", None, logged, 12]
    assert others == [
        ("describe", None, logged, ""),
        ("log_files", None, stage.output / "metrics.json"),
        ("log_files", None, stage.plots),
    ]


def test_a_review_is_printed_logged_and_written(stage, recorder, capsys):
    comparison = Comparison("validation/mse", 0.5, "pixel PCA", 0.25)
    finding = Finding("still_improving", "still improving", "raise train.epochs")

    stage.write_metrics({"epochs": 1}, Review([comparison], [("train", finding)]))

    assert capsys.readouterr().err == (
        "train: still improving; raise train.epochs\n"
        "train: epochs 1; below baseline: validation/mse 0.5 (pixel PCA 0.25); "
        "outputs/train/metrics.json\n"
    )
    tags = {"below_baseline": "validation/mse 0.5 (pixel PCA 0.25)", "diagnosis": "still_improving"}
    assert recorder.commands[0] == ("set_tags", None, tags)
    written = read_json(stage.output / "diagnosis.json")
    assert written["baselines"][0]["below"] is True
    assert written["findings"][0]["section"] == "train"


def test_a_table_is_written_and_logged(stage, recorder):
    rows = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]

    stage.write_table("history.csv", rows)

    assert (stage.output / "history.csv").read_text() == "epoch,loss\n1,0.5\n2,0.25\n"
    assert recorder.commands == [("log_table", None, "history", rows)]


def test_an_entry_of_a_foreach_stage_has_its_own_folder(stage):
    entry = StageContext("compare@depth", *list(vars(stage).values())[1:])

    assert entry.member == "depth"
    assert entry.output == stage.project.root / "outputs" / "compare" / "depth"
    assert stage.member == ""


def test_deleting_checkpoints_leaves_those_of_other_stages(stage):
    other = stage.project.checkpoints("vae", stage.fingerprint)
    for folder in (other, stage.checkpoints):
        folder.mkdir(parents=True)

    stage.delete_checkpoints()

    assert other.exists()
    assert not stage.checkpoints.exists()


@pytest.fixture
def prepare_augmented(checkout, recorder, monkeypatch):
    """Return a function that prepares a stage with a transform, on gray images of 8x8 pixels."""
    monkeypatch.setattr("latentlab.pipeline.context.prepare", lambda runtime: torch.device("cpu"))
    info = DatasetInfo("shapes", ["a"], [1, 8, 8], {"train": 5}, [0.5], [0.1], {"f": "0"}, "d" * 64)
    checkout.outputs("fetch").mkdir(parents=True, exist_ok=True)
    info.write(checkout.outputs("fetch"))
    loaded = load_params(checkout.params)

    def prepare(name, transform):
        section = getattr(loaded, name).model_copy(update={"augmentation": (transform,)})
        params = loaded.model_copy(update={name: section})
        return prepare_stage(name, "f" * 64, checkout, params, Run(recorder))

    return prepare


def test_transforms_are_tried_on_images_of_the_dataset_before_the_training(prepare_augmented):
    prepare_augmented("vae", {"RandomCrop": {"padding": 1}})

    with pytest.raises(ParamsError, match=r"vae\.augmentation: RandomCrop\(size=6\): it changes"):
        prepare_augmented("vae", {"RandomCrop": {"size": 6}})


def test_transforms_of_the_gan_must_be_differentiable(prepare_augmented):
    transform = {"RandomPosterize": {"bits": 2, "p": 1.0}}
    prepare_augmented("vae", transform)

    with pytest.raises(ParamsError, match=r"gan\.augmentation: RandomPosterize.* derivative"):
        prepare_augmented("gan", transform)


def test_evaluate_always_runs_on_the_cpu(checkout, recorder, monkeypatch):
    monkeypatch.setattr("latentlab.pipeline.context.prepare", lambda runtime: torch.device("meta"))
    params = load_params(checkout.params)

    devices = {
        name: prepare_stage(name, "f" * 64, checkout, params, Run(recorder)).device.type
        for name in ("train", "evaluate")
    }

    assert devices == {"train": "meta", "evaluate": "cpu"}
    assert ("set_tags", None, {"device": "cpu", "seed": 0}) in recorder.commands
