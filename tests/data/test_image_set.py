import numpy as np
import pytest
import torch

from latentlab.common.errors import EnvironmentProblem
from latentlab.data.image_set import (
    DatasetInfo,
    ImageSet,
    as_floats,
    load_info,
    load_split,
    stratified_sample,
    write_split,
)


@pytest.fixture
def arrays():
    images = np.random.default_rng(0).integers(0, 256, (23, 3, 4, 4), dtype=np.uint8)
    return images, np.arange(23) % 4


@pytest.fixture
def split(arrays):
    return ImageSet(*map(torch.from_numpy, arrays))


@pytest.fixture
def data_dir(arrays, tmp_path):
    """The folder of `fetch`, with a train split."""
    write_split(tmp_path / "train", *arrays)
    return tmp_path


class TestLoading:
    def test_what_was_written_is_read_back(self, arrays, data_dir):
        split = load_split(data_dir, "train")

        np.testing.assert_array_equal(split.images.numpy(), arrays[0])
        np.testing.assert_array_equal(split.labels.numpy(), arrays[1])
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64

    def test_pixels_are_read_from_the_file_when_they_are_asked_for(self, data_dir):
        split = load_split(data_dir, "train")
        with (data_dir / "train/images.npy").open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"\x07")

        assert split.images.flatten()[-1] == 7

    def test_writing_to_a_split_leaves_its_file_alone(self, data_dir):
        before = (data_dir / "train/images.npy").read_bytes()

        load_split(data_dir, "train").images.zero_()

        assert (data_dir / "train/images.npy").read_bytes() == before

    @pytest.mark.parametrize("kept", [0, 20, 400])
    @pytest.mark.parametrize("name", ["images.npy", "labels.npy"])
    def test_a_file_cut_short_is_told_with_the_way_to_mend_it(self, data_dir, name, kept):
        if name == "labels.npy":
            kept //= 2
        path = data_dir / "train" / name
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(EnvironmentProblem, match=r"train: .* `dvc repro fetch`") as caught:
            load_split(data_dir, "train")
        assert caught.value.exit_code == 4

    def test_a_split_that_is_not_there_is_told_with_the_way_to_mend_it(self, tmp_path):
        with pytest.raises(EnvironmentProblem, match="run `dvc repro fetch` first"):
            load_split(tmp_path, "train")


class TestDatasetInfo:
    INFO = DatasetInfo(
        name="pets",
        classes=["cat", "dog"],
        image_shape=[1, 8, 8],
        sizes={"train": 20},
        mean=[0.5],
        std=[0.25],
        sha256={"x": "0" * 64},
        digest="1" * 64,
    )

    def test_what_was_written_is_read_back(self, tmp_path):
        self.INFO.write(tmp_path)
        assert load_info(tmp_path) == self.INFO

    def test_a_missing_file_is_told(self, tmp_path):
        with pytest.raises(EnvironmentProblem, match=r"dataset.json is missing; run `dvc repro"):
            load_info(tmp_path)

    @pytest.mark.parametrize("text", ["", "<<<<<<< HEAD\n{}", "[]", "{}", '{"name": "x", "y": 1}'])
    def test_a_file_that_is_no_description_is_told(self, tmp_path, text):
        (tmp_path / "dataset.json").write_text(text)
        with pytest.raises(EnvironmentProblem, match=r"dataset.json: .*; run `dvc repro fetch`"):
            load_info(tmp_path)


class TestBatches:
    @pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
    @pytest.mark.parametrize("seed", [None, 0])
    def test_they_cover_every_image_once_with_its_label(self, split, batch_size, seed):
        shuffled = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
        order = None if seed is None else shuffled

        batches = list(split.batches(batch_size, order))

        assert [len(labels) for _, labels in batches[:-1]] == [batch_size] * (len(batches) - 1)
        seen = [key(image, label) for batch in batches for image, label in zip(*batch, strict=True)]
        assert sorted(seen) == sorted(map(key, split.floats(), split.labels))

    def test_they_come_in_their_order_or_in_the_one_that_is_given(self, split):
        chosen = torch.tensor([7, 3, 3, 0, 11, 2])

        def labels(order):
            return torch.cat([labels for _, labels in split.batches(4, order)])

        assert labels(None).equal(split.labels)
        assert labels(chosen).equal(split.labels[chosen])
        assert list(split.batches(4, chosen[6:])) == []

    def test_floats_are_pixels_over_255_in_channels_last_memory(self, split):
        floats = split.floats()

        assert floats.dtype == torch.float32
        assert floats.is_contiguous(memory_format=torch.channels_last)
        np.testing.assert_allclose(floats.numpy(), split.images.numpy() / 255, rtol=1e-6)
        assert as_floats(torch.tensor([[[[0, 255]]]], dtype=torch.uint8)).tolist() == [[[[0, 1]]]]

    def test_floats_leave_the_pixels_as_they_were(self, split):
        before = split.images.clone()
        split.floats(torch.tensor([0, 1])).zero_()
        assert split.images.equal(before)

    def test_images_are_taken_in_the_order_asked_for(self, split):
        taken = split.take(torch.tensor([7, 2]))

        assert len(taken) == 2
        assert taken.floats().equal(split.floats(torch.tensor([7, 2])))
        assert taken.labels.tolist() == [3, 2]

    def test_what_is_taken_of_taken_images_is_theirs(self, split):
        taken = split.take(torch.tensor([7, 2, 9])).take(torch.tensor([2, 0]))

        assert taken.floats().equal(split.floats(torch.tensor([9, 7])))
        assert taken.floats(slice(1)).equal(split.floats(slice(9, 10)))
        (batch,) = taken.batches(4, torch.tensor([1, 0]))
        assert batch[0].equal(split.floats(torch.tensor([7, 9])))
        assert batch[1].tolist() == [3, 1]

    def test_pixels_that_are_taken_are_not_copied(self, data_dir):
        """A study has a process for each core, and each would have a copy."""
        split = load_split(data_dir, "train")

        taken = split.take(torch.arange(20))

        assert taken.images.data_ptr() == split.images.data_ptr()
        assert taken.image_shape == (3, 4, 4)

    def test_a_device_gets_the_images_that_were_taken_alone(self, split):
        there = split.take(torch.tensor([7, 2])).to(torch.device("meta"))

        assert there.images.shape == (2, 3, 4, 4)
        assert there.rows is None

    def test_on_the_cpu_nothing_is_copied(self, split):
        assert split.to(torch.device("cpu")) is split


class TestStratifiedSample:
    LABELS = torch.from_numpy(
        np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [60, 30, 10]))
    )

    @pytest.mark.parametrize("count", [3, 10, 50, 99, 100])
    def test_indices_are_sorted_different_and_as_many_as_asked_for(self, count):
        chosen = stratified_sample(self.LABELS, count, seed=0)

        assert len(chosen) == count
        assert chosen.tolist() == sorted(set(chosen.tolist()))

    @pytest.mark.parametrize("count", [10, 20, 50, 75])
    def test_shares_of_classes_are_kept_to_within_one_image(self, count):
        chosen = stratified_sample(self.LABELS, count, seed=0)

        found = self.LABELS[chosen].bincount(minlength=3)
        np.testing.assert_allclose(found, np.array([0.6, 0.3, 0.1]) * count, atol=1.5)

    def test_every_class_is_there_however_small(self):
        labels = torch.tensor([0] * 1000 + [1] + [2] * 5)
        for count in (3, 100, 1005):
            for seed in range(5):
                chosen = stratified_sample(labels, count, seed)
                assert labels[chosen].unique().tolist() == [0, 1, 2]
                assert len(chosen) == count

    def test_there_are_more_than_asked_for_where_there_are_more_classes(self):
        assert len(stratified_sample(torch.arange(8), 3, seed=0)) == 8

    @pytest.mark.parametrize("count", [100, 1000])
    def test_all_are_taken_where_there_are_no_more(self, count):
        assert stratified_sample(self.LABELS, count, seed=0).tolist() == list(range(100))

    def test_the_same_seed_gives_the_same_sample_and_another_seed_another(self):
        def sample(seed):
            return stratified_sample(self.LABELS, 30, seed).tolist()

        assert sample(1) == sample(1)
        assert sample(1) != sample(2)


def key(image, label):
    return int(label), *image.flatten().tolist()
