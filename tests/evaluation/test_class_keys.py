import random
import re

import pytest

from latentlab.data.catalog import KNOWN
from latentlab.evaluation.class_keys import MAX_BYTES, class_keys

ACCEPTED = re.compile(r"^[/\w.\- :]*$")  # by MLflow, in names of metrics


def test_plain_names_are_their_own_keys():
    names = ["coat", "ankle boot", "été 2.0_b", "A-", "a", "A", "猫", "חתול"]

    assert class_keys(names) == names


def test_the_keys_of_known_datasets_are_those_of_earlier_versions():
    keys = [key for dataset in KNOWN.values() for key in class_keys(dataset.classes)]

    assert [key for key in keys if not key.isalnum()] == ["T-shirt-top", "ankle boot"]


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["A+", "A-"], ["A-aee8736c", "A-"]),
        (["C#", "C+"], ["C-04022884", "C-a99effbf"]),
        (["$10_$20", "a,b", "a\nb"], ["-10_-20", "a-b-1eb7c54d", "a-b-7e18f737"]),
        (["😀", "..", ""], ["-", "..-5ec1f7e7", "-e3b0c442"]),
    ],
)
def test_other_names_have_readable_keys_with_a_digest_where_they_are_ambiguous(names, keys):
    assert class_keys(names) == keys


def test_long_names_are_shortened_in_bytes_and_stay_different():
    names = ["x" * 130, "x" * 129 + "y", "猫" * 130, "猫" * 129 + "犬"]

    keys = class_keys(names)

    assert len(set(keys)) == 4
    assert all(len(key.encode()) <= MAX_BYTES for key in keys)


def test_different_names_never_have_equal_keys():
    symbols = random.Random(0)
    for _ in range(300):
        names = {
            "".join(symbols.choices("a-+#/ .é猫\n$", k=symbols.randint(0, 4))) for _ in "x" * 60
        }
        keys = class_keys([*names])
        names |= set(keys)  # names that look like keys of other names
        keys = class_keys(sorted(names))

        assert len(set(keys)) == len(names)
        assert all(ACCEPTED.match(key) for key in keys)
