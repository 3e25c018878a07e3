"""Fine-tuning of chosen decoder layers on the tokens of the descriptions (section 5.3)."""

import math
import re
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup, set_seed

from headimpact.guards import AdaptiveBatch, NotFiniteError
from headimpact.models.family import Family
from headimpact.training.batches import Collator, Item, shuffled_batches, sorted_by_length
from headimpact.training.frozen import add_hidden_states, decoder_layers, skip_layers
from headimpact.training.losses import finite_losses
from headimpact.training.state import load_state, save_state

MAX_GRADIENT_NORM = 1.0  # gradients of a larger norm are scaled down to it
MAX_LOSS = 700  # nats, the largest whose exponential a float holds


def finetune(
    model: torch.nn.Module,
    family: Family,
    layers: list[int],
    training_items: list[Item],
    validation_items: list[Item],
    adapt: Callable[[torch.nn.Module, Family, list[int]], torch.nn.Module],
    training: dict,
    shortcuts: dict,
    state_folder: str | Path,
    adapter_folder: str | Path,
) -> list[dict]:
    """Train an adapter and save it, as it is at its best epoch, in `adapter_folder`.

    layers: of the decoder. adapt: a function (model, family, layers) that returns a PEFT model
    whose trainable weights all lie in those layers. training: epochs, batch_size, by_length,
    learning_rate, warmup (share of the steps), weight_decay, seed. shortcuts: few_logits and
    frozen_layers, as in config.yaml. state_folder: holds the state from which an interrupted
    training resumes after its last epoch; its state must be of the same training.
    Returns the history, a dict an epoch: epoch, loss, learning_rate and validation perplexity.
    Raises NotFiniteError, naming the sample and the layer, if a loss or a gradient is not finite.
    """
    adaptive_batch = AdaptiveBatch(training["batch_size"], "training")
    lowest = min(layers)
    # what enters a layer below these lacks features of the image, which the model adds later
    keeps_states = shortcuts["frozen_layers"] and lowest >= family.deepstack_layers
    if not keeps_states or model.config.get_text_config().attention_dropout:
        lowest = 0
    if lowest:
        training_items, validation_items = (
            add_hidden_states(model, family, items, lowest, adaptive_batch)
            for items in (training_items, validation_items)
        )
    set_seed(training["seed"])
    adapted = adapt(model, family, layers)
    steps = math.ceil(len(training_items) / training["batch_size"]) * training["epochs"]
    collate = Collator(family, shortcuts["few_logits"])
    trainer = _Trainer(adapted, model, family, training, steps, collate, adaptive_batch)
    _check_layers(trainer.weights, family, layers)
    state = Path(state_folder) / "state.safetensors"
    history, best = load_state(state, trainer.weights, trainer.optimizer)
    with skip_layers(model, family, slice(lowest)):
        for epoch in range(len(history), training["epochs"]):
            loss = trainer.train_epoch(training_items, epoch)
            perplexity = trainer.perplexity(validation_items)
            if best is None or perplexity < min(entry["perplexity"] for entry in history):
                best = {name: weight.detach().clone() for name, weight in trainer.weights.items()}
            entry = {
                "epoch": epoch + 1,
                "loss": loss,
                "learning_rate": trainer.optimizer.param_groups[0]["lr"],
                "perplexity": perplexity,
            }
            history.append(entry)
            save_state(state, history, trainer.weights, best, trainer.optimizer)
    for name, weight in trainer.weights.items():
        weight.data.copy_(best[name])
    adapted.save_pretrained(adapter_folder)
    return history


def _check_layers(names, family, layers):
    """Raise ValueError for a trainable weight outside of `layers`: the layers below may not run."""
    pattern = rf".*\b{re.escape(family.decoder)}\.layers\.({'|'.join(map(str, layers))})\..*"
    for name in names:
        if not re.fullmatch(pattern, name):
            raise ValueError(f"{name} is trainable, and is not in the decoder's layers {layers}")


def seed_epoch(seed: int, epoch: int) -> None:
    """Seed torch's generators for one epoch, so that it does not depend on the earlier ones."""
    torch.manual_seed(int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0]))


class _Trainer:
    """Trains an adapter; all randomness follows from the seed and the epoch's number.

    It is not transformers' Trainer: that one's checkpoints are pickles, a batch that is too large
    ends it, and it cannot say which sample is not finite.
    """

    def __init__(self, adapted, model, family, training, steps, collate, adaptive_batch):
        self.adapted, self.model, self.family = adapted, model, family
        self.training, self.collate, self.adaptive_batch = training, collate, adaptive_batch
        parameters = adapted.named_parameters()
        self.weights = {name: weight for name, weight in parameters if weight.requires_grad}
        rate, decay = training["learning_rate"], training["weight_decay"]
        self.optimizer = torch.optim.AdamW(self.weights.values(), rate, weight_decay=decay)
        warmup = round(training["warmup"] * steps)
        schedule = get_cosine_schedule_with_warmup(self.optimizer, warmup, steps)
        (self.rate_factor,) = schedule.lr_lambdas

    def train_epoch(self, items, epoch):
        """One epoch over `items`; returns the mean loss of its batches."""
        training = self.training
        seed_epoch(training["seed"], epoch)
        lengths = [*map(len, items)]
        batches = shuffled_batches(lengths, training["batch_size"], training["by_length"])
        self.adapted.train()
        losses = []
        for number, batch in enumerate(tqdm(batches, desc=f"epoch {epoch + 1}")):
            factor = self.rate_factor(epoch * len(batches) + number)
            for group in self.optimizer.param_groups:
                group["lr"] = training["learning_rate"] * factor
            losses.append(self._step([items[i] for i in batch]))
        return sum(losses) / len(losses)

    def _step(self, batch):
        """One step of the optimizer; returns the mean loss of the batch's tokens."""
        tokens = sum(len(item.sequence.ids) - item.sequence.start for item in batch)

        def accumulate(micro_batch):
            # also the first one after a halving, which runs the batch from its beginning
            if micro_batch[0] is batch[0]:
                self.optimizer.zero_grad()
            loss = self._losses(micro_batch)[0].sum() / tokens
            loss.backward()
            return loss.item()

        losses = self.adaptive_batch(accumulate, batch)
        norm = torch.nn.utils.clip_grad_norm_(self.weights.values(), MAX_GRADIENT_NORM)
        if not torch.isfinite(norm):
            # a norm can overflow although every gradient is finite: then the first layer is named
            names = sorted(self.weights, key=lambda name: self.weights[name].grad.isfinite().all())
            layer = re.search(r"\.layers\.(\d+)\.", names[0])[1]
            samples = ", ".join(str(item.sample_id) for item in batch)
            raise NotFiniteError(f"samples {samples}: the gradient in layer {layer} is not finite")
        self.optimizer.step()
        return sum(losses)

    @torch.no_grad()
    def perplexity(self, items):
        """Perplexity of `items`, equation (3): the mean is over items, not over tokens."""
        self.adapted.eval()
        means = []
        for batch in sorted_by_length([*map(len, items)], self.training["batch_size"]):
            results = self.adaptive_batch(self._losses, [items[i] for i in batch])
            means += chain.from_iterable((loss / count).tolist() for loss, count in results)
        loss = np.mean(means)
        if loss > MAX_LOSS:
            raise NotFiniteError(
                f"a validation loss of {loss:.0f} has no perplexity; lower training.learning_rate"
            )
        return math.exp(loss)

    def _losses(self, items):
        layers = decoder_layers(self.model, self.family)
        return finite_losses(self.adapted, self.family, layers, self.collate, items)
