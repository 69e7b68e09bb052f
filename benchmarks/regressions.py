"""Regressions that the gate should catch, as edits of the source code or of `params.yaml`.

The list, and the metrics that each should make worse, were fixed before any result was known. First
trials with other seeds and settings then changed the gate and the list:

- A halved KL weight improved the ELBO of the digits, so there is a rule for the KL divergence.
- Shuffled labels left the accuracy as it was, so there is a rule for the calibration error.
- Ten percent fewer images made most metrics worse, but none by more than the noise between seeds,
  so there is a rule for the number of images.
- Three times the learning rate was as good as that of the profile, and no EMA as good as one,
  because the learning rates decreased. The profile now has constant ones and an EMA, which is
  better and has less noise. "Learning rates never decrease" is therefore no regression any more.
- With the profile of a lower learning rate, three times the one of `train` costs 9%, just below the
  limit, so the list has three times those of all trainings.
- Without EMA, or with half as many steps of the generator, the GAN is as good as with another seed.
  The list has the EMA of other models, and a larger change of the steps.
- The frozen layer was the first convolution of the autoencoder. A single layer of it costs 6% at
  most, less than the noise, so the list has a layer of the VAE and the whole encoder.
- The weights were rounded to 8 bits, which changed errors by 0.1%. The list now has 4 bits.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

IMAGES = "fetch/images/train"
AUTOENCODER = "evaluate/test/autoencoder/mse"
CLASSIFIER = "evaluate/test/classifier/*"
REFERENCE = "evaluate/test/reference/accuracy"
VAE = "evaluate/test/vae/mse"
ELBO = "evaluate/test/vae/*/elbo"
KL = "evaluate/test/vae/*/kl"
GAN = "evaluate/test/generators/gan/*"
DENOISERS = "evaluate/test/denoise/*/mse"

OPTIMIZATION = "src/latentlab/training/optimization.py"
TRAIN = "src/latentlab/stages/train.py"
FETCH = "src/latentlab/stages/fetch.py"
SETTINGS = """\
    info, validation = stage.load_info(), stage.load_split("validation")
    settings = resolved_params(stage.project, stage.params).train
"""
SPLITS = """\
    splits = {name: Split(raw, members) for name, members in rows.items()}
"""


@dataclass(frozen=True)
class Edit:
    """The replacement of a text that occurs exactly once in a file."""

    file: str
    before: str
    after: str


@dataclass(frozen=True)
class Regression:
    """A mistake; `metrics` are patterns, as in `gate.yaml`, of the metrics it should make worse."""

    name: str
    edits: tuple[Edit, ...]
    metrics: tuple[str, ...]


def apply_edits(edits: tuple[Edit, ...], root: Path) -> None:
    """Apply edits to the files of a checkout.

    Raises ValueError, before any file is written, unless each text is found exactly once.
    """
    texts: dict[Path, str] = {}
    for edit in edits:
        path = root / edit.file
        text = texts.get(path) or path.read_text(encoding="utf-8")
        if (count := text.count(edit.before)) != 1:
            raise ValueError(f"{path} contains {count} times instead of once:\n{edit.before}")
        texts[path] = text.replace(edit.before, edit.after)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")


def edits_digest(edits: tuple[Edit, ...]) -> str:
    """Return a SHA-256 of edits."""
    return hashlib.sha256(json.dumps([asdict(edit) for edit in edits]).encode()).hexdigest()


def _added(file: str, after: str, lines: str) -> tuple[Edit]:
    """Return an edit that adds lines after a text."""
    return (Edit(file, after, after + lines),)


def _setting(before: str, after: str) -> tuple[Edit]:
    return (Edit("params.yaml", before, after),)


def _train_setting(name: str, value: str) -> tuple[Edit]:
    """Return an edit that changes a setting of `train` after `search` has chosen its value."""
    change = f'    settings = settings.model_copy(update={{"{name}": {value}}})\n'
    return _added(TRAIN, SETTINGS, change)


REGRESSIONS = (
    Regression(
        "learning rates x 3, except those of the GAN",
        (Edit(OPTIMIZATION, "return learning_rate_at(", "return 3 * learning_rate_at("),),
        (AUTOENCODER, VAE, ELBO, DENOISERS, CLASSIFIER),
    ),
    Regression(
        "learning rate of `train` x 10",
        _train_setting("learning_rate", "10 * settings.learning_rate"),
        (AUTOENCODER,),
    ),
    Regression(
        "KL weight halved",
        _setting("  beta: 1.0 ", "  beta: 0.5 "),
        (KL, ELBO),
    ),
    Regression(
        "5% of training labels shuffled",
        _added(
            FETCH,
            SPLITS,
            """\
    labels = splits["train"].labels
    some = np.random.default_rng(stage.seed).permutation(len(labels))[: len(labels) // 20]
    labels[some] = labels[np.roll(some, 1)]
""",
        ),
        (CLASSIFIER, REFERENCE, GAN),
    ),
    Regression(
        "last layer of the VAE's encoder frozen, for the variances",
        _added(
            "src/latentlab/stages/vae.py",
            "    model = Vae(architecture, settings.likelihood, settings.scale, kl_schedule)\n",
            "    model.to_log_variance.requires_grad_(False)\n",
        ),
        (KL, ELBO),
    ),
    Regression(
        "half the epochs of `train`",
        _setting("  epochs: 26\n", "  epochs: 13\n"),
        (AUTOENCODER,),
    ),
    Regression(
        "no EMA of the VAE and the denoisers",
        _setting("  ema_decay: 0.99                 #", "  ema_decay: null                 #"),
        (VAE, ELBO, DENOISERS),
    ),
    Regression(
        "decoders crop one pixel",
        (
            Edit(
                "src/latentlab/models/layers.py",
                "            layers.append(Unstandardize(architecture.mean, architecture.std))\n"
                "        super().__init__(*layers)\n",
                "            layers.append(Unstandardize(architecture.mean, architecture.std))\n"
                "        crop, pad = nn.ZeroPad2d((0, -1, 0, -1)), nn.ZeroPad2d((0, 1, 0, 1))\n"
                "        super().__init__(*layers, crop, pad)\n",
            ),
        ),
        (AUTOENCODER, VAE, ELBO, DENOISERS),
    ),
    Regression(
        "dropout 0.3 in the autoencoder",
        _setting("    dropout: 0.0  ", "    dropout: 0.3  "),
        (AUTOENCODER,),
    ),
    Regression(  # of the VAE, because `search` chooses that of the autoencoder
        "one latent dimension less in the VAE",
        _setting("    hidden: 128\n    latent_dim: 8\n", "    hidden: 128\n    latent_dim: 7\n"),
        (VAE, ELBO),
    ),
    Regression(
        "weights rounded to 4 bits when a model is loaded",
        _added(
            "src/latentlab/models/io.py",
            "        model.load_state_dict(load_file(folder / WEIGHTS))\n",
            """\
        for weight in model.parameters():
            if weight.ndim > 1:
                step = weight.data.abs().max() / 7
                weight.data = (weight.data / step).round() * step
""",
        ),
        (AUTOENCODER, VAE, ELBO, DENOISERS, GAN),
    ),
    Regression(
        "10% fewer training images",
        _added(
            FETCH,
            SPLITS,
            """\
    splits["train"] = Split(raw, rows["train"][np.arange(len(rows["train"])) % 10 > 0])
""",
        ),
        (IMAGES, AUTOENCODER, VAE, ELBO, DENOISERS, CLASSIFIER, REFERENCE),
    ),
    Regression(
        "denoisers trained without noise",
        (
            Edit(
                "src/latentlab/models/denoiser.py",
                "        random = None\n        if not self.training:\n",
                "        random = None\n        if self.training:\n            return images\n"
                "        if not self.training:\n",
            ),
        ),
        (DENOISERS,),
    ),
    Regression(
        "five steps of the discriminator per step of the generator",
        _setting("  discriminator_steps: 1 ", "  discriminator_steps: 5 "),
        (GAN,),
    ),
    Regression(
        "encoder of the autoencoder frozen",
        _added(
            TRAIN,
            "    model = Autoencoder(Architecture.of(settings.model, info))\n",
            "    model.encoder.requires_grad_(False)\n",
        ),
        (AUTOENCODER,),
    ),
)
