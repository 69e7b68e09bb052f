import math

import pytest

from latentlab.training.diagnosis import (
    COLLAPSED,
    DID_NOT_LEARN,
    DIVERGED,
    STILL_IMPROVING,
    Curve,
    accuracy_is_useless,
    diagnose,
    diagnose_gan,
    last_decrease,
    posterior_collapse,
    reconstruction_is_useless,
    still_improving,
)

CONVERGED = [0.08, 0.02, 0.011, 0.01, 0.00999]


def curve(train, validation=None, settled_epoch=0):
    return Curve("mse", train, validation or train, len(train), settled_epoch)


def problems(findings):
    return [finding.problem for finding in findings]


def test_a_converged_training_has_no_findings():
    assert diagnose(curve(CONVERGED), "train", useless=False) == []


class TestDidNotLearn:
    def test_a_flat_loss_without_a_useful_output_did_not_learn(self):
        (finding,) = diagnose(curve([0.1, 0.0999, 0.0999, 0.0999]), "vae", useless=True)

        assert finding.problem == DID_NOT_LEARN
        assert finding.text == (
            "the network did not learn (training mse 0.1 in epoch 1, 0.0999 in epoch 4)"
        )
        assert finding.advice == "raise vae.epochs or vae.learning_rate"

    def test_a_flat_loss_of_a_network_that_was_good_from_the_start_is_fine(self):
        assert diagnose(curve([0.01] * 4), "finetune", useless=False) == []

    def test_an_error_close_to_that_of_the_mean_image_is_useless(self):
        assert reconstruction_is_useless(0.058, mean_image_mse=0.057)
        assert not reconstruction_is_useless(0.0478, mean_image_mse=0.057)

    def test_an_accuracy_is_useless_if_chance_explains_it(self):
        assert accuracy_is_useless(0.15, majority_accuracy=0.1, images=144)
        assert not accuracy_is_useless(0.15, majority_accuracy=0.1, images=10_000)


class TestDiverged:
    def test_a_loss_that_returns_to_where_it_started_has_diverged(self):
        (finding,) = diagnose(curve([0.08, 0.01, 0.02, 0.07]), "train", useless=True)

        assert finding.problem == DIVERGED
        assert finding.text == "diverged: training mse rose from 0.01 to 0.07"
        assert finding.advice == "lower train.learning_rate"

    def test_a_loss_close_to_zero_may_double(self):
        assert diagnose(curve([1.5, 0.1, 0.011, 0.023]), "reference", useless=False) == []

    def test_a_rise_before_the_loss_is_final_is_ignored(self):
        with_warmup = curve([0.03, 0.07, 0.07, 0.0699], settled_epoch=1)

        assert diagnose(with_warmup, "vae", useless=False) == []


class TestCollapsed:
    def test_a_constant_output_after_a_long_stall_has_collapsed(self):
        stalled = curve([0.12, 0.071, 0.07, 0.07, 0.07, 0.07])

        assert problems(diagnose(stalled, "train", True, constant=True)) == [COLLAPSED]

    def test_a_constant_output_after_two_epochs_is_too_early_to_tell(self):
        short = curve([0.12, 0.0705], [0.0706, 0.0700])

        assert problems(diagnose(short, "train", True, constant=True)) == [DID_NOT_LEARN]

    def test_a_vae_without_active_units_has_collapsed_if_its_loss_fell(self):
        (finding,) = posterior_collapse(curve([0.12, 0.07]), 0.001, active_units=0, beta=4)

        assert finding.problem == COLLAPSED
        assert finding.advice.startswith("lower vae.beta, now 4,")
        assert posterior_collapse(curve([0.12, 0.12]), 0.001, 0, 1) == []
        assert posterior_collapse(curve([0.12, 0.07]), 2.2, 0, 1) == []
        assert posterior_collapse(curve([0.12, 0.07]), 0.5, 1, 1) == []


class TestStillImproving:
    def test_an_error_that_falls_in_the_last_tenth_is_still_improving(self):
        (finding,) = diagnose(curve([0.08, 0.06, 0.05, 0.04, 0.03]), "train", useless=False)

        assert finding.problem == STILL_IMPROVING
        assert finding.advice == "raise train.epochs"
        assert "validation mse 0.03, 14.3% lower" in finding.text

    def test_a_network_that_overfits_gains_little_from_more_epochs(self):
        overfitted = curve([0.08, 0.05, 0.03, 0.02, 0.01], [0.08, 0.06, 0.05, 0.04, 0.03])

        assert diagnose(overfitted, "train", useless=False) == []

    def test_early_stopping_ends_before_the_budget(self):
        points = [(1.0, 0.2), (2.0, 0.1)]

        assert still_improving(points, 3, "mse", "train") == []
        assert problems(still_improving(points, 2, "mse", "train")) == [STILL_IMPROVING]

    def test_one_epoch_is_compared_with_its_own_mean(self):
        assert problems(diagnose(curve([0.08], [0.06]), "vae", False)) == [STILL_IMPROVING]
        assert diagnose(curve([0.08], [0.079]), "vae", False) == []

    def test_the_decrease_is_interpolated_and_ignores_worse_epochs(self):
        assert last_decrease([(1, 0.5), (2, 0.2), (3, 0.3), (4, 0.1)]) == pytest.approx(
            1 - 0.1 / (0.1 + 0.4 * 0.1)
        )
        assert last_decrease([(1, 0.1), (2, 0.2)]) == 0


def gan_history(distances, losses=(1.4, 1.2), d=(0.6, 0.4), **best):
    """Return a history with these distances; the losses change linearly over the epochs."""
    history = []
    for number, distance in enumerate(distances, 1):
        share = (number - 1) / max(len(distances) - 1, 1)
        loss = losses[0] + share * (losses[1] - losses[0])
        record = {"epoch": number, "train/discriminator_loss": loss, "train/generator_loss": loss}
        record |= {"train/d_real": d[0], "train/d_generated": d[1], **best}
        history.append(record | ({} if math.isnan(distance) else {"distance": distance}))
    return history


def diagnosed(history, below=False, bounded=True):
    evaluated = [record for record in history if "distance" in record]
    best = int(min(evaluated, key=lambda record: record["distance"])["epoch"])
    return diagnose_gan(history, best, "distance", len(history), below, bounded)


class TestGan:
    def test_a_converged_training_has_no_findings(self):
        assert diagnosed(gan_history([600, 90, math.nan, 50, 51])) == []

    def test_a_distance_that_falls_in_the_last_tenth_is_still_improving(self):
        assert problems(diagnosed(gan_history([600, 300, 150, 100]))) == [STILL_IMPROVING]

    def test_losses_that_do_not_change_did_not_learn(self):
        history = gan_history([600, 601, 600], losses=(1.4, 1.401))

        assert problems(diagnosed(history, below=True)) == [DID_NOT_LEARN]

    def test_a_distance_that_doubles_has_diverged(self):
        (finding,) = diagnosed(gan_history([600, 90, 200]))

        assert finding.problem == DIVERGED
        assert finding.text == "the Fréchet distance rose from 90 in epoch 2 to 200"

    def test_samples_that_are_too_alike_have_collapsed(self):
        names = ("collapsed", "diversity", "diversity_in_classes", "class_entropy")
        best = dict(
            zip([f"validation/{name}" for name in names], (1.0, 0.1, 0.2, 0.5), strict=True)
        )

        (finding,) = diagnosed(gan_history([90, 50, 50], **best))

        assert finding.problem == COLLAPSED
        assert "diversity of the samples relative to real images 0.1" in finding.text

    def test_without_labels_samples_that_are_too_alike_have_collapsed_too(self):
        best = {"validation/collapsed": 1.0, "validation/diversity": 0.1}

        (finding,) = diagnosed(gan_history([90, 50, 50], **best))

        assert finding.text.endswith("diversity of the samples relative to real images 0.1")

    def test_a_discriminator_without_errors_is_a_collapse_only_if_it_returns_probabilities(self):
        history = gan_history([90, 50, 50], d=(0.999, 0.001))

        assert problems(diagnosed(history)) == [COLLAPSED]
        assert diagnosed(history, bounded=False) == []
