import itertools

import numpy as np
import pytest
import torch

from latentlab.common.errors import EnvironmentProblem
from latentlab.data.image_set import (
    ROTATIONS,
    DatasetInfo,
    ImageSet,
    RotatedImages,
    ShuffledBatches,
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
    """The output folder of `fetch`, with a training split."""
    write_split(tmp_path / "train", *arrays)
    return tmp_path


class TestLoading:
    def test_a_written_split_is_read_back(self, arrays, data_dir):
        split = load_split(data_dir, "train")

        np.testing.assert_array_equal(split.images.numpy(), arrays[0])
        np.testing.assert_array_equal(split.labels.numpy(), arrays[1])
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64

    @pytest.mark.parametrize("count", [0, 1, 600])
    def test_images_are_written_in_blocks_as_numpy_writes_them(self, tmp_path, count):
        images = np.random.default_rng(0).integers(0, 256, (count, 3, 4, 4), dtype=np.uint8)

        write_split(tmp_path / "train", images, np.zeros(count, np.int64))

        np.save(tmp_path / "expected.npy", images)
        expected = (tmp_path / "expected.npy").read_bytes()
        assert (tmp_path / "train/images.npy").read_bytes() == expected

    def test_pixels_are_read_when_they_are_used(self, data_dir):
        split = load_split(data_dir, "train")
        with (data_dir / "train/images.npy").open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"\x07")

        assert split.images.flatten()[-1] == 7

    def test_writing_to_a_split_does_not_change_its_file(self, data_dir):
        before = (data_dir / "train/images.npy").read_bytes()

        load_split(data_dir, "train").images.zero_()

        assert (data_dir / "train/images.npy").read_bytes() == before

    @pytest.mark.parametrize("name", ["images.npy", "labels.npy"])
    def test_a_truncated_file_is_rejected(self, data_dir, name):
        path = data_dir / "train" / name
        complete = path.read_bytes()
        for size in (0, 20, len(complete) // 2):
            path.write_bytes(complete[:size])
            with pytest.raises(EnvironmentProblem) as caught:
                load_split(data_dir, "train")
            assert caught.value.exit_code == 4

    def test_a_missing_split_is_rejected(self, tmp_path, message):
        with pytest.raises(EnvironmentProblem) as caught:
            load_split(tmp_path, "train")

        message("data/image_set: missing split", caught.value)


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

    def test_a_written_description_is_read_back(self, tmp_path):
        self.INFO.write(tmp_path)

        assert load_info(tmp_path) == self.INFO

    def test_a_missing_file_is_rejected(self, tmp_path, message):
        with pytest.raises(EnvironmentProblem) as caught:
            load_info(tmp_path)

        message("data/image_set: missing description", caught.value)

    def test_a_file_with_another_content_is_rejected(self, tmp_path, message):
        for text in ("", "[]", "{}", '{"name": "x", "y": 1}', "<<<<<<< HEAD\n{}"):
            (tmp_path / "dataset.json").write_text(text)
            with pytest.raises(EnvironmentProblem) as caught:
                load_info(tmp_path)

        message("data/image_set: damaged description", caught.value)


class TestBatches:
    @pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
    def test_they_contain_every_image_once_with_its_label(self, split, batch_size):
        batches = list(split.batches(batch_size))

        assert [len(labels) for _, labels in batches[:-1]] == [batch_size] * (len(batches) - 1)
        yielded = [key(image, y) for batch in batches for image, y in zip(*batch, strict=True)]
        assert yielded == list(map(key, split.floats(), split.labels))

    def test_they_are_in_the_given_order(self, split):
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

    def test_floats_are_a_copy(self, split):
        before = split.images.clone()
        split.floats(torch.tensor([0, 1])).zero_()
        assert split.images.equal(before)

    def test_take_returns_the_images_in_the_given_order(self, split):
        taken = split.take(torch.tensor([7, 2]))

        assert len(taken) == 2
        assert taken.floats().equal(split.floats(torch.tensor([7, 2])))
        assert taken.labels.tolist() == [3, 2]

    def test_take_can_be_applied_repeatedly(self, split):
        taken = split.take(torch.tensor([7, 2, 9])).take(torch.tensor([2, 0]))

        assert taken.floats().equal(split.floats(torch.tensor([9, 7])))
        assert taken.floats(slice(1)).equal(split.floats(slice(9, 10)))
        (batch,) = taken.batches(4, torch.tensor([1, 0]))
        assert batch[0].equal(split.floats(torch.tensor([7, 9])))
        assert batch[1].tolist() == [3, 1]

    def test_take_does_not_copy_pixels(self, data_dir):
        split = load_split(data_dir, "train")

        taken = split.take(torch.arange(20))

        assert taken.images.data_ptr() == split.images.data_ptr()
        assert taken.image_shape == (3, 4, 4)

    def test_only_the_taken_images_are_moved_to_a_device(self, split):
        moved = split.take(torch.tensor([7, 2])).to(torch.device("meta"))

        assert moved.images.shape == (2, 3, 4, 4)
        assert moved.rows is None

    def test_moving_to_the_cpu_copies_nothing(self, split):
        assert split.to(torch.device("cpu")) is split


class TestStratifiedSample:
    LABELS = torch.from_numpy(
        np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [60, 30, 10]))
    )

    @pytest.mark.parametrize("count", [3, 50, 100])
    def test_it_has_the_requested_number_of_distinct_sorted_indices(self, count):
        chosen = stratified_sample(self.LABELS, count, seed=0)

        assert len(chosen) == count
        assert chosen.tolist() == sorted(set(chosen.tolist()))

    @pytest.mark.parametrize("count", [10, 75])
    def test_the_class_proportions_are_preserved_to_within_one_image(self, count):
        chosen = stratified_sample(self.LABELS, count, seed=0)

        counts = self.LABELS[chosen].bincount(minlength=3)
        np.testing.assert_allclose(counts, np.array([0.6, 0.3, 0.1]) * count, atol=1.5)

    def test_every_class_is_represented_however_small(self):
        labels = torch.tensor([0] * 1000 + [1] + [2] * 5)
        for count in (3, 100, 1005):
            for seed in range(5):
                chosen = stratified_sample(labels, count, seed)
                assert labels[chosen].unique().tolist() == [0, 1, 2]
                assert len(chosen) == count

    def test_it_has_one_index_per_class_if_there_are_more_classes_than_requested(self):
        assert len(stratified_sample(torch.arange(8), 3, seed=0)) == 8

    def test_it_has_all_indices_if_there_are_fewer_than_requested(self):
        assert stratified_sample(self.LABELS, 1000, seed=0).tolist() == list(range(100))

    def test_it_depends_on_the_seed(self):
        def sample(seed):
            return stratified_sample(self.LABELS, 30, seed).tolist()

        assert sample(1) == sample(1)
        assert sample(1) != sample(2)


class TestShuffledBatches:
    COUNT = 50

    @pytest.fixture
    def images(self):
        values = torch.arange(self.COUNT, dtype=torch.uint8)
        pixels = values[:, None, None, None].expand(self.COUNT, 1, 8, 8)
        return ImageSet(pixels.contiguous(), torch.arange(self.COUNT))

    @staticmethod
    def shuffled(images, seed=0, batch_size=16):
        return ShuffledBatches(images, batch_size, torch.Generator().manual_seed(seed))

    @staticmethod
    def labels(batches):
        return [labels.tolist() for _, labels in batches]

    def test_an_epoch_contains_every_image_once_with_its_label(self, images):
        batches = list(self.shuffled(images))

        assert [len(labels) for _, labels in batches] == [16, 16, 16, 2]
        assert sorted(itertools.chain(*self.labels(batches))) == list(range(self.COUNT))
        for pixels, labels in batches:
            assert torch.equal(pixels[:, 0, 0, 0], labels.float() / 255)

    @pytest.mark.parametrize("batch_size", [1, 16, 25, 64])
    def test_steps_is_the_number_of_batches(self, images, batch_size):
        batches = self.shuffled(images, batch_size=batch_size)

        assert batches.steps == len(list(batches))
        assert batches.images == self.COUNT

    def test_epochs_differ_and_depend_on_the_seed(self, images):
        batches, same, other = (self.shuffled(images, seed) for seed in (0, 0, 1))
        first, second = self.labels(batches), self.labels(batches)

        assert first != second
        assert [first, second] == [self.labels(same), self.labels(same)]
        assert first != self.labels(other)

    @pytest.mark.parametrize("epochs", [0, 1])
    @pytest.mark.parametrize("steps", [0, 1, 3, 4])
    def test_a_restored_state_continues_the_epoch_and_the_next(self, images, epochs, steps):
        batches, restored = self.shuffled(images), self.shuffled(images, seed=7)
        for _ in range(epochs):
            list(batches)
        running = iter(batches)
        for _ in range(steps):
            next(running)
        restored.load_state_dict(batches.state_dict())

        assert self.labels(restored) == self.labels(running)
        if steps:
            assert self.labels(restored) == self.labels(batches)

    def test_a_restored_state_continues_random_draws_between_batches(self, images):
        """A GAN draws its noise from the generator that shuffles the images."""
        randoms = [torch.Generator().manual_seed(seed) for seed in (0, 7)]
        batches, restored = (ShuffledBatches(images, 16, random) for random in randoms)

        def draws(batches, random):
            return [(y.tolist(), torch.rand((), generator=random).item()) for _, y in batches]

        running = iter(batches)
        for _ in range(2):
            next(running)
            torch.rand(3, generator=randoms[0])
        restored.load_state_dict(batches.state_dict())

        assert draws(restored, randoms[1]) == draws(running, randoms[0])
        assert draws(restored, randoms[1]) == draws(batches, randoms[0])

    def test_the_step_is_zero_between_epochs(self, images):
        batches = self.shuffled(images)
        list(batches)

        assert batches.step == 0


def key(image, label):
    return int(label), *image.flatten().tolist()


@pytest.fixture
def images():
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (5, 3, 4, 4), generator=random, dtype=torch.uint8)
    return ImageSet(pixels, torch.zeros(5, dtype=torch.int64))


def test_every_image_is_read_in_all_orientations_with_the_angle_as_its_label(images):
    rotated = RotatedImages.of(images)

    assert len(rotated) == 20
    for index, (image, label) in enumerate(zip(rotated.floats(), rotated.labels, strict=True)):
        assert int(label) == index % len(ROTATIONS)
        expected = images.floats()[index // len(ROTATIONS)].rot90(int(label), (1, 2))
        torch.testing.assert_close(image, expected)


def test_the_pixels_are_not_copied_or_changed(images):
    before = images.images.clone()

    rotated = RotatedImages.of(images)
    rotated.floats()

    assert rotated.images.data_ptr() == images.images.data_ptr()
    assert torch.equal(images.images, before)


def test_a_part_of_the_set_keeps_the_angles_and_a_part_can_be_rotated(images):
    rotated = RotatedImages.of(images)
    indices = torch.tensor([18, 3, 7])

    torch.testing.assert_close(rotated.take(indices).floats(), rotated.floats(indices))
    of_part = RotatedImages.of(images.take(torch.tensor([4, 2])))
    torch.testing.assert_close(of_part.floats(slice(4)), rotated.floats(slice(16, 20)))
    torch.testing.assert_close(of_part.floats(slice(4, 8)), rotated.floats(slice(8, 12)))


def test_batches_have_images_and_angles(images):
    rotated = RotatedImages.of(images)
    batches = list(rotated.batches(8, order=torch.arange(19, -1, -1)))

    torch.testing.assert_close(torch.cat([batch for batch, _ in batches]), rotated.floats().flip(0))
    assert torch.equal(torch.cat([labels for _, labels in batches]), rotated.labels.flip(0))
