import numpy as np
import pytest

from latentlab.common.errors import EnvironmentProblem
from latentlab.evaluation.examples import EXAMPLES, Examples, digest_images, read_examples

RESULTS = Examples(
    {"m/mse": np.array([0.1, 0.2], np.float32), "m/accuracy": np.array([True, False])},
    {"m/mse": "w", "m/accuracy": "v"},
    "i",
)


def test_results_are_read_as_they_were_written(tmp_path):
    RESULTS.write(tmp_path / EXAMPLES)

    read = read_examples(tmp_path / EXAMPLES)

    assert (read.weights, read.images) == (RESULTS.weights, "i")
    for metric, values in RESULTS.values.items():
        assert read.values[metric].dtype == values.dtype
        np.testing.assert_array_equal(read.values[metric], values)


def test_equal_results_give_equal_files(tmp_path):
    reversed_order = {metric: RESULTS.values[metric] for metric in reversed(RESULTS.values)}
    RESULTS.write(tmp_path / "a")
    Examples(reversed_order, RESULTS.weights, "i").write(tmp_path / "b")

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_damaged_file_is_an_error_with_its_path(tmp_path):
    path = tmp_path / EXAMPLES
    RESULTS.write(path)
    path.write_bytes(path.read_bytes()[:-3])

    with pytest.raises(EnvironmentProblem, match=rf"{EXAMPLES}.*run `dvc repro evaluate`"):
        read_examples(path)


@pytest.mark.parametrize("second", [[0.1], [0.1, np.nan]], ids=["shorter", "not finite"])
def test_invalid_numbers_are_an_error(tmp_path, second):
    values = {"m/mse": np.array([0.1, 0.2], np.float32), "n/mse": np.array(second, np.float32)}
    Examples(values, dict.fromkeys(values, "w"), "i").write(tmp_path / EXAMPLES)

    with pytest.raises(EnvironmentProblem, match=EXAMPLES):
        read_examples(tmp_path / EXAMPLES)


def test_the_digest_depends_on_images_labels_and_their_order():
    images, labels = np.arange(8).reshape(2, 4), np.array([0, 1])
    digests = {
        digest_images(images, labels),
        digest_images(images[::-1], labels),
        digest_images(images, labels[::-1]),
    }

    assert len(digests) == 3
    assert digest_images(images.copy(), labels.copy()) in digests
