"""The training loop of a GAN: some steps of the discriminator, then one of the generator.

Losses of both networks, by name:

- bce: Goodfellow et al. 2014, with the non-saturating loss of the generator.
- hinge: Lim and Ye 2017.
- wasserstein: Arjovsky et al. 2017, with the gradient penalty of Gulrajani et al. 2017.

Hand-written for the same reason as `training.loop`: bit-identical resume within an epoch.
"""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, relu
from torch.optim import Adam

from latentlab.common.errors import TrainingDiverged
from latentlab.common.startup import optimizer_step
from latentlab.data.augmentation import Augmentation
from latentlab.data.image_set import ImageSet, ShuffledBatches
from latentlab.models.device import mixed_precision
from latentlab.models.gan import Discriminator, Generator
from latentlab.models.inference import Means
from latentlab.params.generators import GanParams
from latentlab.training.checkpoint import (
    Checkpoint,
    State,
    Stopwatch,
    random_state,
    set_random_state,
)
from latentlab.training.loop import STEPS_BETWEEN_CHECKS, Record, check_losses, make_ema

PREVIEW_IMAGES = 64
"""Images generated from the same noise after every epoch."""


class GeneratorEvaluator(Protocol):
    """Measures how close the images of a generator are to real ones.

    `metric` names the entry of the returned record that selects the best epoch; lower is better.
    """

    metric: str

    def evaluate(self, generator: Generator) -> Record:
        """Return named metrics of a generator in evaluation mode."""


class AdversarialTraining:
    """Training of a generator against a discriminator; iterate over `epochs()` to run it.

    After `resume()` an interrupted training continues at the step of its last checkpoint and ends
    bit-identically. With an `evaluator` the best epoch is the one with the lowest metric, otherwise
    it is the last one.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        settings: GanParams,
        train: ImageSet,
        seed: int,
        device: torch.device,
        checkpoint: Checkpoint | None = None,
        evaluator: GeneratorEvaluator | None = None,
    ) -> None:
        self.generator = generator.to(device).to(memory_format=torch.channels_last)
        self.discriminator = discriminator.to(device).to(memory_format=torch.channels_last)
        self.ema = make_ema(self.generator, settings.ema_decay)
        self.settings = settings
        self.device = device
        self.evaluator = evaluator
        self.generator_optimizer = _adam(self.generator, settings)
        self.discriminator_optimizer = _adam(self.discriminator, settings)
        self.random = torch.Generator().manual_seed(seed)
        self.preview_inputs, _ = generator.draw(PREVIEW_IMAGES, torch.Generator().manual_seed(seed))
        self.batches = ShuffledBatches(train.to(device), settings.batch_size, self.random)
        self.augmentation = Augmentation(settings.augmentation, train.image_shape[-1])
        self.checkpoint = checkpoint or Checkpoint()
        self.history: list[Record] = []
        self.frames: list[Tensor] = []
        """Images generated from `preview_inputs` after each epoch, [64, C, S, S] as uint8."""
        self.best_epoch = 0
        self._best_distance = math.inf
        self._best_weights = copy.deepcopy(self.eval_model.state_dict())
        self._means = Means()
        self._generator_means = Means()
        self._losses = torch.zeros(self.batches.steps, device=device)
        self._stopwatch = Stopwatch()

    @property
    def eval_model(self) -> Generator:
        """The generator that is evaluated and saved: the EMA of its weights if there is one."""
        return self.generator if self.ema is None else cast(Generator, self.ema.module)

    @property
    def seconds(self) -> float:
        """Seconds of training up to the last epoch, including those before a `resume`."""
        return self._stopwatch.seconds

    def resume(self) -> None:
        """Continue from the checkpoint if there is one."""
        saved = self.checkpoint.read()
        if saved is not None:
            self._restore(saved[0])

    def epochs(self) -> Iterator[Record]:
        """Train and yield the record of each epoch.

        Epochs from before a `resume` are in `history` and are not yielded again. Raises
        TrainingDiverged if a loss or an image is NaN or infinite.
        """
        while len(self.history) < self.settings.epochs:
            epoch = len(self.history) + 1
            self._stopwatch.start()
            record = {"epoch": epoch, **self.train_epoch(epoch)}
            self._evaluate(epoch, record)
            self.history.append(record)
            self._stopwatch.lap()
            if self.checkpoint.due() or epoch == self.settings.epochs:
                self._write_checkpoint()
            yield record

    def train_epoch(self, epoch: int) -> Record:
        """Train for one epoch and return the mean of all terms; `epoch` counts from 1."""
        self.generator.train()
        self.discriminator.train()
        for images, labels in self.batches:
            self._set_rate(self.rate_at((epoch - 1) * self.batches.steps + self.batches.step - 1))
            if len(images) < self.settings.batch_size and self.batches.step > 1:
                continue  # batch norm is noisy on the short last batch of an epoch

            # discriminator
            terms = self.step_discriminator(images * 2 - 1, labels)
            self._means.add(terms, len(images))

            # generator
            if self._generator_is_due():
                self._generator_means.add(self.step_generator(len(images)), len(images))

            # check and save
            self._losses[self.batches.step - 1] = terms["train/discriminator_loss"]
            if self.batches.step % STEPS_BETWEEN_CHECKS == 0:
                self._check_losses(epoch)
                if self.checkpoint.due():
                    self._stopwatch.lap()
                    self._write_checkpoint()
        self._check_losses(epoch)
        return self._means.compute_and_reset() | self._generator_means.compute_and_reset()

    def step_discriminator(self, real: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Take one step of the discriminator.

        `real` are images [N, C, S, S] in [-1, 1] and `labels` their classes [N].
        """
        with mixed_precision(self.device, self.settings.precision):
            with torch.no_grad():
                generated, classes = self.generate(len(real), self._classes_to_generate(labels))
                real, generated = self.augment(real), self.augment(generated)
            real_logits = self.discriminator(real, labels)
            generated_logits = self.discriminator(generated, classes)
            loss = discriminator_loss(
                self.settings.loss, real_logits, generated_logits, self.settings.label_smoothing
            )
        if self.settings.loss == "wasserstein":
            shares = torch.rand(len(real), generator=self.random).to(self.device)
            penalty = gradient_penalty(
                lambda mixed: self.discriminator(mixed, labels), real, generated, shares
            )
            loss = loss + self.settings.gradient_penalty * penalty
        norm = _descend(self.discriminator, self.discriminator_optimizer, loss)
        # D(x) is a probability with bce; the other losses have scores without bounds
        output = torch.Tensor.sigmoid if self.settings.loss == "bce" else torch.Tensor.clone
        return {
            "train/discriminator_loss": loss.detach(),
            "train/discriminator_gradient": norm,
            "train/d_real": output(real_logits.detach()).mean(),
            "train/d_generated": output(generated_logits.detach()).mean(),
        }

    def step_generator(self, count: int) -> dict[str, Tensor]:
        """Take one step of the generator on `count` images that it generates."""
        with mixed_precision(self.device, self.settings.precision):
            generated, classes = self.generate(count)
            logits = self.discriminator(self.augment(generated), classes)
            loss = generator_loss(self.settings.loss, logits)
        norm = _descend(self.generator, self.generator_optimizer, loss)
        if self.ema is not None:
            self.ema.update_parameters(self.generator)
        return {"train/generator_loss": loss.detach(), "train/generator_gradient": norm}

    def generate(self, count: int, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Generate images [count, C, S, S] in [-1, 1]; return them with their classes [count]."""
        inputs, labels = self.generator.draw(count, self.random, labels)
        return self.generator(inputs.to(self.device)), labels.to(self.device)

    def augment(self, images: Tensor) -> Tensor:
        """Augment real or generated images [N, C, S, S] in [-1, 1], with gradients.

        Augmenting only the real images would teach the generator to generate augmented ones.
        """
        if not self.augmentation:
            return images
        return self.augmentation((images.float() + 1) / 2) * 2 - 1

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0 over the whole training.

        It falls linearly to 0 over the last `lr_decay_fraction` of the training.
        """
        left = 1 - step / (self.settings.epochs * self.batches.steps)
        fraction = self.settings.lr_decay_fraction
        return self.settings.learning_rate * (min(1.0, left / fraction) if fraction else 1.0)

    def restore_best(self) -> Generator:
        """Load the weights of the best epoch into the generator and return it."""
        self.generator.load_state_dict(self._best_weights)
        return self.generator.eval()

    def _classes_to_generate(self, labels: Tensor | None) -> Tensor | None:
        """Return the classes of the real images if the penalty mixes real and generated images."""
        return labels.cpu() if self.settings.loss == "wasserstein" and labels is not None else None

    def _generator_is_due(self) -> bool:
        """Return whether the discriminator has taken its steps, or the epoch ends."""
        step, last = self.batches.step, max(1, self.batches.images // self.settings.batch_size)
        return step % self.settings.discriminator_steps == 0 or step == last

    def _set_rate(self, rate: float) -> None:
        for optimizer in (self.generator_optimizer, self.discriminator_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = rate

    def _check_losses(self, epoch: int) -> None:
        check_losses(
            self._losses[: self.batches.step or self.batches.steps],
            epoch,
            self.batches.steps,
            self.rate_at,
            self.history[-1]["train/discriminator_loss"] if self.history else None,
            "gan.learning_rate",
        )

    @torch.no_grad()
    def _evaluate(self, epoch: int, record: Record) -> None:
        """Add preview images, evaluate the generator if that is due, and remember the best one."""
        generator = self.eval_model.eval()
        images = generator(self.preview_inputs.to(self.device))
        if not bool(images.isfinite().all()):  # broken by the step after the last checked loss
            raise TrainingDiverged(
                f"the generator's images are not finite after epoch {epoch} (learning rate "
                f"{self.rate_at(epoch * self.batches.steps - 1):.3g}, last loss "
                f"{record['train/generator_loss']:.4g}); lower gan.learning_rate"
            )
        self.frames.append(((images.float().cpu() + 1) * 127.5).round().to(torch.uint8))
        due = epoch % self.settings.eval_every == 0 or epoch == self.settings.epochs
        if self.evaluator is not None and due:
            metrics = self.evaluator.evaluate(generator)
            record |= metrics
            if metrics[self.evaluator.metric] < self._best_distance:
                self._set_best(epoch, metrics[self.evaluator.metric])
        elif math.isinf(self._best_distance):  # none has been evaluated yet
            self._set_best(epoch, math.inf)

    def _set_best(self, epoch: int, distance: float) -> None:
        self.best_epoch, self._best_distance = epoch, distance
        self._best_weights = copy.deepcopy(self.eval_model.state_dict())

    def _write_checkpoint(self) -> None:
        """Save everything that the rest of the training depends on."""
        state = {name: part.state_dict() for name, part in self._parts().items()} | {
            "ema": self.ema and self.ema.state_dict(),
            "losses": self._losses,
            "history": self.history,
            "preview_inputs": self.preview_inputs,
            "frames": self.frames,
            "best": (self.best_epoch, self._best_distance, self._best_weights),
            "seconds": self.seconds,
            "random": random_state(self.device),
        }
        self.checkpoint.write(state, {})

    def _restore(self, state: State) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self._losses.copy_(state["losses"])
        self.history = state["history"]
        self.preview_inputs, self.frames = state["preview_inputs"], state["frames"]
        self.best_epoch, self._best_distance, self._best_weights = state["best"]
        self._stopwatch.seconds = state["seconds"]
        set_random_state(state["random"], self.device)

    def _parts(self) -> dict[str, Any]:
        """Return the objects that have a `state_dict` of their own."""
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "generator_optimizer": self.generator_optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
            "batches": self.batches,
            "means": self._means,
            "generator_means": self._generator_means,
        }


def _adam(network: nn.Module, settings: GanParams) -> Adam:
    betas = (settings.adam_beta1, 0.999)
    return Adam(network.parameters(), settings.learning_rate, betas=betas, fused=True)


def _descend(network: nn.Module, optimizer: Adam, loss: Tensor) -> Tensor:
    """Take one step of an optimizer and return the norm of the gradient."""
    optimizer.zero_grad(set_to_none=True)
    weights = list(network.parameters())
    # the gradients of the other network are not needed
    loss.backward(inputs=weights)  # type: ignore[no-untyped-call]  # torch does not annotate it
    norm = nn.utils.get_total_norm([p.grad for p in weights if p.grad is not None])
    with torch.no_grad():
        optimizer_step(optimizer)
    return norm


def discriminator_loss(
    name: str, real: Tensor, generated: Tensor, smoothing: float = 0.0
) -> Tensor:
    """Compute the loss of the discriminator from its logits [N] for real and generated images.

    With bce, real images have the label 1 - `smoothing`.
    """
    if name == "hinge":
        return relu(1 - real).mean() + relu(1 + generated).mean()
    if name == "wasserstein":
        return generated.mean() - real.mean()
    on_real = binary_cross_entropy_with_logits(real, torch.full_like(real, 1 - smoothing))
    on_generated = binary_cross_entropy_with_logits(generated, torch.zeros_like(generated))
    return on_real + on_generated


def generator_loss(name: str, generated: Tensor) -> Tensor:
    """Compute the loss of the generator from the discriminator's logits [N] for its images."""
    if name == "bce":
        return binary_cross_entropy_with_logits(generated, torch.ones_like(generated))
    return -generated.mean()


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, generated: Tensor, shares: Tensor
) -> Tensor:
    """Compute E (|grad D(x)| - 1)^2 at mixtures x of real and generated images [N, C, S, S].

    `shares` [N] are the shares of the real images, from 0 to 1.
    """
    shares = shares[:, None, None, None]
    mixed = (shares * real + (1 - shares) * generated).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(mixed).sum(), mixed, create_graph=True)
    penalty: Tensor = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty
