import itertools

import pytest
import torch

from latentlab.data.image_set import ImageSet, ShuffledBatches

COUNT = 50


@pytest.fixture(scope="module")
def images() -> ImageSet:
    pixels = torch.arange(COUNT, dtype=torch.uint8)[:, None, None, None].expand(COUNT, 1, 8, 8)
    return ImageSet(pixels.contiguous(), torch.arange(COUNT))


def sweep(images, seed=0, batch_size=16):
    return ShuffledBatches(images, batch_size, torch.Generator().manual_seed(seed))


def labels(batches):
    return [batch.tolist() for _, batch in batches]


def test_a_pass_has_every_image_once_with_its_own_label(images):
    batches = list(sweep(images).batches())

    assert [len(batch) for _, batch in batches] == [16, 16, 16, 2]
    assert sorted(itertools.chain(*labels(batches))) == list(range(COUNT))
    for pixels, batch in batches:
        assert torch.equal(pixels[:, 0, 0, 0], batch.float() / 255)


@pytest.mark.parametrize("batch_size", [1, 16, 25, 50, 64])
def test_its_steps_are_its_batches(images, batch_size):
    one = sweep(images, batch_size=batch_size)

    assert one.steps == len(list(one.batches()))


def test_passes_differ_and_follow_the_seed(images):
    one, same, other = sweep(images), sweep(images), sweep(images, seed=1)
    first, second = labels(one.batches()), labels(one.batches())

    assert first != second
    assert [first, second] == [labels(same.batches()), labels(same.batches())]
    assert first != labels(other.batches())


@pytest.mark.parametrize("passes", [0, 1])
@pytest.mark.parametrize("done", [0, 1, 2, 3, 4])
def test_taken_up_in_the_middle_it_gives_the_remaining_batches_and_the_same_next_pass(
    images, passes, done
):
    one, other = sweep(images), sweep(images, seed=7)
    for _ in range(passes):
        list(one.batches())
    running = one.batches()
    for _ in range(done):
        next(running)
    other.load_state_dict(one.state_dict())

    assert labels(other.batches()) == labels(running)
    if done:
        assert labels(other.batches()) == labels(one.batches())


def test_random_numbers_drawn_between_batches_go_on_too(images):
    """A GAN draws its noise from the generator that shuffles."""
    one_random, other_random = torch.Generator().manual_seed(0), torch.Generator().manual_seed(7)
    one, other = ShuffledBatches(images, 16, one_random), ShuffledBatches(images, 16, other_random)

    def rest(batches, random):
        return [(batch.tolist(), torch.rand((), generator=random).item()) for _, batch in batches]

    running = one.batches()
    for _ in range(2):
        next(running)
        torch.rand(3, generator=one_random)
    other.load_state_dict(one.state_dict())

    assert rest(other.batches(), other_random) == rest(running, one_random)
    assert rest(other.batches(), other_random) == rest(one.batches(), one_random)


def test_between_passes_no_step_is_done(images):
    one = sweep(images)
    list(one.batches())

    assert one.step == 0
