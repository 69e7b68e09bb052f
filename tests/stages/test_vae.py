import json

import numpy as np
import pytest
import torch

from latentlab.stages.vae import prior_grid

LATENT_PLOTS = {"latent_map.png", "latent_grid.png"}


def test_pictures_of_the_training_are_kept_in_numbered_files(bench):
    bench.edit({"vae.epochs": 2})

    answer = bench.run("vae")

    assert answer.code == 0, answer.err
    folder = bench.project.outputs("vae") / "epochs"
    assert {path.relative_to(folder).as_posix() for path in folder.glob("*/*")} == {
        f"{picture}/{epoch}.png"
        for picture in ("latent_map", "reconstructions")
        for epoch in (1, 2)
    }


@pytest.mark.parametrize(("dimensions", "expected"), [(2, LATENT_PLOTS), (3, {"latent_map.png"})])
def test_codes_are_mapped_and_a_prior_of_two_dimensions_is_decoded_on_a_grid(
    bench, dimensions, expected
):
    bench.edit({"vae.model.latent_dim": dimensions, "vae.epochs": 1, "vae.likelihood": "bernoulli"})

    answer = bench.run("vae")

    assert answer.code == 0, answer.err
    output = bench.project.outputs("vae")
    assert {path.name for path in (output / "plots").iterdir()} & LATENT_PLOTS == expected
    metrics = json.loads((output / "metrics.json").read_text())["validation"]
    assert set(metrics) == {"bernoulli", "mse", "psnr", "pixel_pca_mse", "mean_image_mse"}
    assert metrics["bernoulli"]["elbo"] == pytest.approx(-64 * np.log(2), rel=0.2)


def test_the_prior_grid_is_evenly_spaced_in_prior_probability():
    quantiles = (np.arange(4) + 0.5) / 4
    grid = prior_grid(quantiles)

    probabilities = torch.distributions.Normal(0.0, 1.0).cdf(grid).view(4, 4, 2)
    expected = torch.tensor(quantiles).float()
    torch.testing.assert_close(probabilities[0, :, 0], expected)
    torch.testing.assert_close(probabilities[:, 0, 1], expected.flip(0))
