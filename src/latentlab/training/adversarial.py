"""The two players of a GAN: one step each per batch, non-saturating loss.

Goodfellow et al. 2014: the discriminator minimises BCE on real and generated images, the
generator maximises log D(G(z)), which is BCE with the labels flipped.
"""

import math
from collections import defaultdict
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Adam

from latentlab.data.image_set import ImageSet
from latentlab.errors import TrainingDiverged
from latentlab.models.gan import Discriminator, Generator
from latentlab.params import GanParams
from latentlab.training.record import Record


class AdversarialTraining:
    """One training of a generator against a discriminator; `epochs()` does the work."""

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        settings: GanParams,
        train: ImageSet,
        seed: int,
        device: torch.device,
    ) -> None:
        self.generator = generator.to(device, memory_format=torch.channels_last)
        self.discriminator = discriminator.to(device, memory_format=torch.channels_last)
        self.settings = settings
        self.train = train.to(device)
        self.device = device
        betas = (settings.adam_beta1, 0.999)
        self.generator_optimizer = Adam(generator.parameters(), settings.learning_rate, betas)
        self.discriminator_optimizer = Adam(
            discriminator.parameters(), settings.learning_rate, betas
        )
        self.random = torch.Generator().manual_seed(seed)
        self.history: list[Record] = []

    def epochs(self) -> Iterator[Record]:
        """Train; yield the record of each epoch. Raises TrainingDiverged on a loss not finite."""
        for epoch in range(1, self.settings.epochs + 1):
            record = {"epoch": epoch, **self._train_epoch()}
            if not all(math.isfinite(value) for value in record.values()):
                raise TrainingDiverged(
                    f"a loss is not finite in epoch {epoch}; lower gan.learning_rate"
                )
            self.history.append(record)
            yield record

    def generate(self, count: int) -> Tensor:
        """Generated images [count, C, S, S] in [-1, 1], from fresh noise."""
        noise = torch.randn(count, self.settings.noise_dim, generator=self.random)
        return self.generator(noise.to(self.device))

    def step_discriminator(self, real: Tensor) -> Record:
        """One step of the discriminator on real images [N, C, S, S] in [-1, 1]."""
        with torch.no_grad():
            generated = self.generate(len(real))
        real_logits = self.discriminator(real)
        generated_logits = self.discriminator(generated)
        loss = binary_cross_entropy_with_logits(
            real_logits, torch.ones_like(real_logits)
        ) + binary_cross_entropy_with_logits(generated_logits, torch.zeros_like(generated_logits))
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.discriminator_optimizer.step()
        return {
            "train/discriminator_loss": loss.detach(),
            "train/d_real": real_logits.detach().sigmoid().mean(),
            "train/d_generated": generated_logits.detach().sigmoid().mean(),
        }

    def step_generator(self, count: int) -> Record:
        """One step of the generator on `count` images of its own."""
        logits = self.discriminator(self.generate(count))
        loss = binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
        self.generator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.generator_optimizer.step()
        return {"train/generator_loss": loss.detach()}

    def _train_epoch(self) -> Record:
        self.generator.train()
        self.discriminator.train()
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.device))
        seen = 0
        for images, _ in self.train.batches(self.settings.batch_size, self.random):
            if len(images) < self.settings.batch_size and seen:
                break  # batch norm is noisy on the short rest of an epoch
            terms = self.step_discriminator(images * 2 - 1) | self.step_generator(len(images))
            for name, value in terms.items():
                sums[name] += value * len(images)
            seen += len(images)
        return {name: float(total) / seen for name, total in sums.items()}
