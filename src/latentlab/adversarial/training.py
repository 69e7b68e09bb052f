"""The two players of a GAN: one step each per batch, non-saturating loss.

Goodfellow et al. 2014: the discriminator minimises BCE on real and generated images, the
generator maximises log D(G(z)), which is BCE with the labels flipped.
"""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Adam

from latentlab.data.image_set import ImageSet
from latentlab.models.gan import Discriminator, Generator
from latentlab.networks.means import Means
from latentlab.params import GanParams
from latentlab.runtime import mixed_precision
from latentlab.training.checkpoint import Checkpoint, State
from latentlab.training.divergence import STEPS_BETWEEN_CHECKS, stop_if_diverged
from latentlab.training.optimization import take_step
from latentlab.training.record import Record
from latentlab.training.sweep import Sweep


class AdversarialTraining:
    """One training of a generator against a discriminator; `epochs()` does the work.

    After `resume` it goes on where a killed one stood, and ends with the same bits.
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
    ) -> None:
        self.generator = generator.to(device, memory_format=torch.channels_last)
        self.discriminator = discriminator.to(device, memory_format=torch.channels_last)
        self.settings = settings
        self.device = device
        options = {"betas": (settings.adam_beta1, 0.999), "fused": True}
        self.generator_optimizer = Adam(generator.parameters(), settings.learning_rate, **options)
        self.discriminator_optimizer = Adam(
            discriminator.parameters(), settings.learning_rate, **options
        )
        self.random = torch.Generator().manual_seed(seed)
        self.sweep = Sweep(train.to(device), settings.batch_size, self.random)
        self.means = Means()
        self.losses = torch.zeros(self.sweep.steps, device=device)
        self.checkpoint = checkpoint or Checkpoint()
        self.history: list[Record] = []
        self._finite_weights = copy.deepcopy(generator.state_dict())

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
            record = {"epoch": epoch, **self._train_epoch(epoch)}
            self.history.append(record)
            self._finite_weights = copy.deepcopy(self.generator.state_dict())
            if self.checkpoint.due or epoch == self.settings.epochs:
                self.checkpoint.write(self._state())
            yield record

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights `restore_best` gives back: the last."""
        return len(self.history)

    def restore_best(self) -> Generator:
        """The generator after its last epoch whose losses were finite."""
        self.generator.load_state_dict(self._finite_weights)
        return self.generator.eval()

    def generate(self, count: int) -> Tensor:
        """Generated images [count, C, S, S] in [-1, 1], from fresh noise."""
        noise = torch.randn(count, self.settings.noise_dim, generator=self.random)
        return self.generator(noise.to(self.device))

    def step_discriminator(self, real: Tensor) -> Record:
        """One step of the discriminator on real images [N, C, S, S] in [-1, 1]."""
        with mixed_precision(self.device):
            with torch.no_grad():
                generated = self.generate(len(real))
            real_logits = self.discriminator(real)
            generated_logits = self.discriminator(generated)
            on_real = binary_cross_entropy_with_logits(real_logits, torch.ones_like(real_logits))
            on_generated = binary_cross_entropy_with_logits(
                generated_logits, torch.zeros_like(generated_logits)
            )
            loss = on_real + on_generated
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        take_step(self.discriminator_optimizer)
        return {
            "train/discriminator_loss": loss.detach(),
            "train/d_real": real_logits.detach().sigmoid().mean(),
            "train/d_generated": generated_logits.detach().sigmoid().mean(),
        }

    def step_generator(self, count: int) -> Record:
        """One step of the generator on `count` images of its own."""
        with mixed_precision(self.device):
            logits = self.discriminator(self.generate(count))
            loss = binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
        self.generator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        take_step(self.generator_optimizer)
        return {"train/generator_loss": loss.detach()}

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        self.generator.train()
        self.discriminator.train()
        for images, _ in self.sweep.batches():
            if len(images) < self.settings.batch_size and self.sweep.step > 1:
                continue  # batch norm is noisy on the short rest of an epoch
            terms = self.step_discriminator(images * 2 - 1) | self.step_generator(len(images))
            self.means.add(terms, len(images))
            losses = terms["train/discriminator_loss"] + terms["train/generator_loss"]
            self.losses[self.sweep.step - 1] = losses
            if self.sweep.step % STEPS_BETWEEN_CHECKS == 0:
                self._stop_if_diverged(epoch)
                if self.checkpoint.due:
                    self.checkpoint.write(self._state())
        self._stop_if_diverged(epoch)
        return self.means.take()

    def _stop_if_diverged(self, epoch: int) -> None:
        losses = self.losses[: self.sweep.step or self.sweep.steps]
        last = self.history[-1] if self.history else None
        stop_if_diverged(
            losses,
            epoch,
            self.sweep.steps,
            lambda _: self.settings.learning_rate,
            last and last["train/discriminator_loss"] + last["train/generator_loss"],
            "gan.learning_rate",
        )

    def _state(self) -> State:
        """Everything that the rest of the training depends on."""
        return {name: part.state_dict() for name, part in self._parts().items()} | {
            "losses": self.losses,
            "history": self.history,
            "finite_weights": self._finite_weights,
        }

    def _restore(self, state: State) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.losses.copy_(state["losses"])
        self.history = state["history"]
        self._finite_weights = state["finite_weights"]

    def _parts(self) -> dict[str, Any]:
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "generator_optimizer": self.generator_optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
            "sweep": self.sweep,
            "means": self.means,
        }
