from crafting import write_pictures
from latentlab.data.sources import RawDataset
from latentlab.stages import fetch


def test_latent_walks_between_unknown_classes_are_rejected_before_any_training(bench, message):
    for name in ("circles", "squares"):
        write_pictures(bench.project.data / "shapes" / name, 20)
    bench.edit({"data.name": "shapes", "evaluate.walks": [["circles", "nine"]]})

    answer = bench.run("fetch")

    assert answer.code == 2
    message("stages/unknown classes in evaluate.walks", answer.err)


def test_latent_walks_between_classes_are_rejected_without_labels(bench, message, monkeypatch):
    raw = RawDataset((), {}, {})
    monkeypatch.setattr(fetch, "read_dataset", lambda *arguments: raw)
    bench.edit({"evaluate.walks": [["circles", "squares"]]})

    answer = bench.run("fetch")

    assert answer.code == 2
    message("stages/walks between classes without labels", answer.err)
