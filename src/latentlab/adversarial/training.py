"""The two players of a GAN: the discriminator takes some steps, then the generator takes one."""

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from latentlab.adversarial.losses import discriminator_loss, generator_loss, gradient_penalty
from latentlab.adversarial.watch import FRECHET, Watch
from latentlab.data.image_set import ImageSet
from latentlab.errors import TrainingDiverged
from latentlab.models.gan import Discriminator, Generator
from latentlab.networks.means import Means
from latentlab.params.generators import GanParams
from latentlab.runtime import mixed_precision
from latentlab.training.checkpoint import Checkpoint, State
from latentlab.training.clock import Clock
from latentlab.training.divergence import STEPS_BETWEEN_CHECKS, stop_if_diverged
from latentlab.training.loop import averaged
from latentlab.training.optimization import take_step
from latentlab.training.record import Record
from latentlab.training.sweep import Sweep

SHOWN = 64
"""Images of the same noise that are looked at after every epoch."""


class AdversarialTraining:
    """One training of a generator against a discriminator; `epochs()` does the work.

    After `resume` it goes on where a killed one stood, and ends with the same bits. Where somebody
    watches, the generator of the epoch that was closest to real images is kept, else the last.
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
        watch: Watch | None = None,
    ) -> None:
        self.generator = generator.to(device, memory_format=torch.channels_last)
        self.discriminator = discriminator.to(device, memory_format=torch.channels_last)
        self.averaged = averaged(self.generator, settings.ema_decay)
        self.settings = settings
        self.device = device
        self.watch = watch
        options = {"betas": (settings.adam_beta1, 0.999), "fused": True}
        self.generator_optimizer = Adam(generator.parameters(), settings.learning_rate, **options)
        self.discriminator_optimizer = Adam(
            discriminator.parameters(), settings.learning_rate, **options
        )
        self.random = torch.Generator().manual_seed(seed)
        self.shown_inputs, _ = generator.draw(SHOWN, torch.Generator().manual_seed(seed))
        self.sweep = Sweep(train.to(device), settings.batch_size, self.random)
        self.means = Means()
        self.generator_means = Means()
        self.losses = torch.zeros(self.sweep.steps, device=device)
        self.checkpoint = checkpoint or Checkpoint()
        self.history: list[Record] = []
        self.frames: list[Tensor] = []
        """What the generator made of the same noise after each epoch, [64, C, S, S] as uint8."""
        self._clock = Clock()
        self.best_epoch = 0
        self._best_distance = math.inf
        self._best_weights = copy.deepcopy(self.judged.state_dict())

    @property
    def judged(self) -> nn.Module:
        """The generator that is kept: the average of its weights where there is one."""
        return self.generator if self.averaged is None else self.averaged.module

    @property
    def seconds(self) -> float:
        """Of work on it up to the end of the last epoch, those before a `resume` among them."""
        return self._clock.seconds

    def resume(self) -> None:
        """Go on where the checkpoint stands, if there is one."""
        if (state := self.checkpoint.read()) is not None:
            self._restore(state)

    def epochs(self) -> Iterator[Record]:
        """Train; yield the record of each epoch. Raises TrainingDiverged on a loss not finite.

        Epochs from before a `resume` are in `history` and not yielded again.
        """
        while len(self.history) < self.settings.epochs:
            epoch = len(self.history) + 1
            self._clock.start()
            record = {"epoch": epoch, **self.train_epoch(epoch)}
            self._look(epoch, record)
            self.history.append(record)
            self._clock.count()
            if self.checkpoint.due or epoch == self.settings.epochs:
                self.checkpoint.write(self._state())
            yield record

    def restore_best(self) -> Generator:
        """Put the weights that are kept into the generator."""
        self.generator.load_state_dict(self._best_weights)
        return self.generator.eval()

    def rate_at(self, step: int) -> float:
        """The learning rate of a step of the whole training, counted from 0.

        Over the share `decay` of the training, at its end, it falls linearly to 0.
        """
        left = 1 - step / (self.settings.epochs * self.sweep.steps)
        decay = self.settings.decay
        return self.settings.learning_rate * (min(1.0, left / decay) if decay else 1.0)

    def step_discriminator(self, real: Tensor, labels: Tensor | None = None) -> Record:
        """One step of the discriminator on real images [N, C, S, S] in [-1, 1], classes [N]."""
        with mixed_precision(self.device, self.settings.precision):
            with torch.no_grad():
                generated, asked = self.generate(len(real), self._classes_to_mix(labels))
            real_logits = self.discriminator(real, labels)
            generated_logits = self.discriminator(generated, asked)
            loss = discriminator_loss(
                self.settings.loss, real_logits, generated_logits, self.settings.label_smoothing
            )
        if self.settings.loss == "wasserstein":
            shares = torch.rand(len(real), generator=self.random).to(self.device)
            slope = gradient_penalty(
                lambda mixed: self.discriminator(mixed, labels), real, generated, shares
            )
            loss = loss + self.settings.gradient_penalty * slope
        norm = self._descend(self.discriminator, self.discriminator_optimizer, loss)
        record = {"train/discriminator_loss": loss.detach(), "train/discriminator_gradient": norm}
        # the critic of wasserstein gives scores, not log-odds
        seen = torch.Tensor.sigmoid if self.settings.loss == "bce" else torch.Tensor.clone
        return record | {
            "train/d_real": seen(real_logits.detach()).mean(),
            "train/d_generated": seen(generated_logits.detach()).mean(),
        }

    def step_generator(self, count: int) -> Record:
        """One step of the generator on `count` images of its own."""
        with mixed_precision(self.device, self.settings.precision):
            generated, asked = self.generate(count)
            loss = generator_loss(self.settings.loss, self.discriminator(generated, asked))
        norm = self._descend(self.generator, self.generator_optimizer, loss)
        if self.averaged is not None:
            self.averaged.update_parameters(self.generator)
        return {"train/generator_loss": loss.detach(), "train/generator_gradient": norm}

    def _classes_to_mix(self, labels: Tensor | None) -> Tensor | None:
        """With the penalty, which looks between a real and a generated image, those of the real."""
        return labels.cpu() if self.settings.loss == "wasserstein" and labels is not None else None

    def generate(self, count: int, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Fresh images [count, C, S, S] in [-1, 1], and the classes [count] they were asked for."""
        inputs, labels = self.generator.draw(count, self.random, labels)
        return self.generator(inputs.to(self.device)), labels.to(self.device)

    def _descend(self, player: nn.Module, optimizer: Adam, loss: Tensor) -> Tensor:
        """Move one player along its gradient; the length of that."""
        optimizer.zero_grad(set_to_none=True)
        weights = list(player.parameters())
        loss.backward(inputs=weights)  # the other player's gradients would be for nothing
        norm = nn.utils.get_total_norm([p.grad for p in weights if p.grad is not None])
        take_step(optimizer)
        return norm

    def train_epoch(self, epoch: int) -> Record:
        """One pass over the images; the means of all terms. `epoch` counts from 1."""
        self.generator.train()
        self.discriminator.train()
        for images, labels in self.sweep.batches():
            self._set_rate(self.rate_at((epoch - 1) * self.sweep.steps + self.sweep.step - 1))
            if len(images) < self.settings.batch_size and self.sweep.step > 1:
                continue  # batch norm is noisy on the short rest of an epoch
            terms = self.step_discriminator(images * 2 - 1, labels)
            self.means.add(terms, len(images))
            if self._generator_is_due():
                self.generator_means.add(self.step_generator(len(images)), len(images))
            self.losses[self.sweep.step - 1] = terms["train/discriminator_loss"]
            if self.sweep.step % STEPS_BETWEEN_CHECKS == 0:
                self._stop_if_diverged(epoch)
                if self.checkpoint.due:
                    self._clock.count()
                    self.checkpoint.write(self._state())
        self._stop_if_diverged(epoch)
        return self.means.take() | self.generator_means.take()

    def _set_rate(self, rate: float) -> None:
        for optimizer in (self.generator_optimizer, self.discriminator_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = rate

    def _generator_is_due(self) -> bool:
        """After some steps of the discriminator, and at the end of an epoch."""
        step, whole = self.sweep.step, max(1, self.sweep.images // self.settings.batch_size)
        return step % self.settings.discriminator_steps == 0 or step == whole

    def _stop_if_diverged(self, epoch: int) -> None:
        stop_if_diverged(
            self.losses[: self.sweep.step or self.sweep.steps],
            epoch,
            self.sweep.steps,
            self.rate_at,
            self.history[-1]["train/discriminator_loss"] if self.history else None,
            "gan.learning_rate",
        )

    @torch.no_grad()
    def _look(self, epoch: int, record: Record) -> None:
        """Keep what the generator makes now, judge it where that is due, and keep the best."""
        generator = self.judged.eval()
        images = generator(self.shown_inputs.to(self.device))
        if not bool(images.isfinite().all()):  # the step after the last loss that was looked at
            raise TrainingDiverged(
                f"the generator's images are not finite after epoch {epoch} (learning rate "
                f"{self.rate_at(epoch * self.sweep.steps - 1):.3g}, last loss "
                f"{record['train/generator_loss']:.4g}); lower gan.learning_rate"
            )
        self.frames.append(((images.float().cpu() + 1) * 127.5).round().to(torch.uint8))
        due = epoch % self.settings.judge_every == 0 or epoch == self.settings.epochs
        if self.watch is not None and due:
            judged = self.watch.judge(generator)
            record |= judged
            if judged[FRECHET] < self._best_distance:
                self._keep(epoch, judged[FRECHET])
        elif math.isinf(self._best_distance):  # none was judged yet
            self._keep(epoch, math.inf)

    def _keep(self, epoch: int, distance: float) -> None:
        self.best_epoch, self._best_distance = epoch, distance
        self._best_weights = copy.deepcopy(self.judged.state_dict())

    def _state(self) -> State:
        """Everything that the rest of the training depends on."""
        return {name: part.state_dict() for name, part in self._parts().items()} | {
            "averaged": self.averaged and self.averaged.state_dict(),
            "losses": self.losses,
            "history": self.history,
            "shown_inputs": self.shown_inputs,
            "frames": self.frames,
            "best": (self.best_epoch, self._best_distance, self._best_weights),
            "seconds": self.seconds,
        }

    def _restore(self, state: State) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.losses.copy_(state["losses"])
        self.history = state["history"]
        self.shown_inputs, self.frames = state["shown_inputs"], state["frames"]
        self.best_epoch, self._best_distance, self._best_weights = state["best"]
        self._clock.seconds = state["seconds"]

    def _parts(self) -> dict[str, Any]:
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "generator_optimizer": self.generator_optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
            "sweep": self.sweep,
            "means": self.means,
            "generator_means": self.generator_means,
        }
