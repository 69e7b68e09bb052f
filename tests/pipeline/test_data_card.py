import numpy as np

from latentlab.data.duplicates import DuplicateReport
from latentlab.data.image_set import DatasetInfo
from latentlab.data.sources import RawDataset, SourceFacts
from latentlab.pipeline.data_card import write_data_card


def card_of(tmp_path, classes, report, **options):
    labels = {"train": np.array([0, 0, 0]), "validation": np.array([0]), "test": np.array([0])}
    images = np.zeros((5, 3, 8, 8), np.uint8)
    raw = RawDataset(tuple(classes), {"train": (images, np.zeros(5, int))}, {}, **options)
    sizes = {split: len(each) for split, each in labels.items()}
    info = DatasetInfo("birds", classes, [3, 8, 8], sizes, [0.1] * 3, [0.2] * 3, {}, "0")
    write_data_card(tmp_path / "card.md", info, raw, labels, report, "plots/classes.png")
    return (tmp_path / "card.md").read_text()


def test_the_card_of_a_published_dataset_reports_equal_images_in_several_splits(tmp_path, message):
    facts = SourceFacts("UCI", "MIT", (30, 20), (4000, 3000), {"no image": 2, "hidden": 1})

    card = card_of(tmp_path, ["a|b", "c"], DuplicateReport(4, 0, 2, 0, []), facts=facts)

    message("pipeline/data card of a published dataset", card)


def test_the_card_of_images_without_labels_counts_all_images(tmp_path):
    card = card_of(tmp_path, [], DuplicateReport(0, 0, 0, 0, []), published=False)

    assert "| classes | none: the images have no labels |" in card
    assert "| 0 | all images | 3 | 1 | 1 |" in card


def test_long_lists_of_label_conflicts_are_cut(tmp_path):
    conflicts = [[0, 1]] * 25

    card = card_of(tmp_path, ["a"], DuplicateReport(25, 0, 0, 0, conflicts), published=False)

    assert card.count("  - train 0 (a), train 1 (a)") == 20
    assert "  - and 5 others" in card
