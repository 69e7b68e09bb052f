import json

import numpy as np
import pytest
import torch

from latentlab.stages.vae import prior_plane


@pytest.mark.parametrize(
    ("dimensions", "maps"),
    [(2, {"means.png", "plane.png"}), (3, {"means.png"}), (4, set())],
)
def test_few_dimensions_are_mapped_against_the_prior(bench, dimensions, maps):
    bench.edit({"vae.model.latent_dim": dimensions, "vae.epochs": 1, "vae.likelihood": "bernoulli"})

    answer = bench.run("vae")

    assert answer.code == 0, answer.err
    output = bench.project.outputs("vae")
    drawn = {path.name for path in (output / "plots").iterdir()}
    assert drawn & {"means.png", "plane.png"} == maps
    figures = json.loads((output / "metrics.json").read_text())["validation"]
    assert set(figures) == {"bernoulli", "mse", "psnr"}
    assert figures["bernoulli"]["elbo"] == pytest.approx(-64 * np.log(2), rel=0.2)


def test_the_plane_has_as_much_of_the_prior_between_any_two_points():
    shares = (np.arange(4) + 0.5) / 4
    plane = prior_plane(shares)

    normal = torch.distributions.Normal(0.0, 1.0)
    below = normal.cdf(plane).view(4, 4, 2)
    torch.testing.assert_close(below[0, :, 0], torch.tensor(shares).float())
    torch.testing.assert_close(below[:, 0, 1], torch.tensor(shares).float().flip(0))
