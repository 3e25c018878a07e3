"""LoRA on chosen decoder layers, on the tokens of the descriptions (section 5.3)."""

import math
import re
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup, set_seed

from headimpact.guards import AdaptiveBatch, NotFiniteError, first_nonfinite_layer
from headimpact.training import state as epochs
from headimpact.training.batches import IGNORE, Collator, drawn, like_lengths, on_device
from headimpact.training.frozen import decoder_layers, handing_on, keep_states
from headimpact.training.lora import add_adapter

LARGEST_GRADIENT = 1.0  # its norm, to which a larger one is cut
LARGEST_LOSS = 700  # nats, of which a float can hold the exponential


def description_losses(model, family, inputs):
    """Loss of each item of a batch, summed over its description's tokens, and their number.

    inputs: what Collator gives, on the model's device. Two tensors (batch,), nats.
    """
    inputs = dict(inputs)
    labels = inputs.pop("labels")
    if "features" in inputs:
        inputs["mm_encoder_outputs"] = family.encoder_outputs(inputs.pop("features"))
    logits = model(**inputs, use_cache=False).logits.float()
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="none"
    ).view(labels.shape)
    return losses.sum(1), (labels != IGNORE).sum(1)


def finetune(model, family, layers, items, validation, lora, training, shortcuts, work, adapter):
    """Train the adapter of one setup and leave it, at its best epoch, in the folder `adapter`.

    layers: of the decoder, list of int. items, validation: lists of Item. training: epochs,
    batch_size, by_length, learning_rate, warmup (share of the steps), weight_decay, seed.
    shortcuts: few_logits and frozen_layers, as in config.yaml. work: folder of the state from
    which an interrupted training goes on after its last epoch; it must be of this very training.
    Returns the history (list of dict): epoch, loss, learning_rate and validation perplexity.
    Raises FloatingPointError, naming the sample and the layer, if a loss or gradient is not
    finite.
    """
    room = AdaptiveBatch(training["batch_size"], "training")
    below = min(layers)
    if not shortcuts["frozen_layers"] or model.config.get_text_config().attention_dropout:
        below = 0
    if below:
        items, validation = (
            keep_states(model, family, part, below, room) for part in (items, validation)
        )
    set_seed(training["seed"])
    adapted = add_adapter(model, family, layers, lora)
    steps = math.ceil(len(items) / training["batch_size"]) * training["epochs"]
    collate = Collator(family, shortcuts["few_logits"])
    learner = _Learner(adapted, model, family, training, steps, collate)
    state = Path(work) / "state.safetensors"
    history, best = epochs.kept(state, learner.weights, learner.optimizer)
    with handing_on(model, family, slice(below)):
        for epoch in range(len(history), training["epochs"]):
            loss = learner.learn(items, epoch, room)
            perplexity = learner.judge(validation, room)
            if best is None or perplexity < min(one["perplexity"] for one in history):
                best = {name: weight.detach().clone() for name, weight in learner.weights.items()}
            rate = learner.optimizer.param_groups[0]["lr"]
            told = {"epoch": epoch + 1, "loss": loss, "learning_rate": rate}
            history.append({**told, "perplexity": perplexity})
            epochs.keep(state, history, learner.weights, best, learner.optimizer)
    for name, weight in learner.weights.items():
        weight.data.copy_(best[name])
    adapted.save_pretrained(adapter)
    return history


def seed_epoch(seed, epoch):
    """Seed torch's generators for one epoch of a training, so that it needs none of the others."""
    torch.manual_seed(int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0]))


class _Learner:
    """An adapter that learns; nothing is drawn but by its seed and the epoch's number.

    Not transformers' Trainer: its checkpoints are pickles, a batch that is too large ends it, and
    it cannot say which sample is not finite.
    """

    def __init__(self, adapted, model, family, training, steps, collate):
        self.adapted, self.model, self.family = adapted, model, family
        self.training, self.collate = training, collate
        named = adapted.named_parameters()
        self.weights = {name: weight for name, weight in named if weight.requires_grad}
        rate, decay = training["learning_rate"], training["weight_decay"]
        self.optimizer = torch.optim.AdamW(self.weights.values(), rate, weight_decay=decay)
        warmup = round(training["warmup"] * steps)
        (self.rate,) = get_cosine_schedule_with_warmup(self.optimizer, warmup, steps).lr_lambdas

    def learn(self, items, epoch, room):
        """One epoch over `items`; returns the mean loss of its batches."""
        told = self.training
        seed_epoch(told["seed"], epoch)
        batches = drawn([*map(len, items)], told["batch_size"], told["by_length"])
        self.adapted.train()
        losses = []
        for number, batch in enumerate(tqdm(batches, desc=f"epoch {epoch + 1}")):
            for group in self.optimizer.param_groups:
                group["lr"] = told["learning_rate"] * self.rate(epoch * len(batches) + number)
            losses.append(self._step([items[i] for i in batch], room))
        return sum(losses) / len(losses)

    def _step(self, batch, room):
        tokens = sum(len(item.sequence.ids) - item.sequence.start for item in batch)

        def add(part):
            if part[0] is batch[0]:  # the first part, or all anew with smaller ones
                self.optimizer.zero_grad()
            loss = self._losses(part)[0].sum() / tokens
            loss.backward()
            return loss.item()

        losses = room(add, batch)
        norm = torch.nn.utils.clip_grad_norm_(self.weights.values(), LARGEST_GRADIENT)
        if not torch.isfinite(norm):
            # finite ones can have a norm that is not
            named = sorted(self.weights, key=lambda name: self.weights[name].grad.isfinite().all())
            layer = re.search(r"\.layers\.(\d+)\.", named[0])[1]
            samples = ", ".join(str(item.sample_id) for item in batch)
            raise NotFiniteError(f"samples {samples}: the gradient in layer {layer} is not finite")
        self.optimizer.step()
        return sum(losses)

    @torch.no_grad()
    def judge(self, items, room):
        """Perplexity of `items`, equation (3)."""
        self.adapted.eval()
        losses = []
        for numbers in like_lengths([*map(len, items)], self.training["batch_size"]):
            parts = room(self._losses, [items[i] for i in numbers])
            losses += chain.from_iterable((loss / count).tolist() for loss, count in parts)
        mean = np.mean(losses)
        if mean > LARGEST_LOSS:
            raise NotFiniteError(
                f"a validation loss of {mean:.0f} has no perplexity; lower training.learning_rate"
            )
        return math.exp(mean)

    def _losses(self, items):
        inputs = on_device(self.collate(items), self.model.device)
        losses, counts = description_losses(self.adapted, self.family, inputs)
        if not torch.isfinite(losses).all():
            worst = items[int((~torch.isfinite(losses)).nonzero()[0])]
            inputs = on_device(self.collate([worst]), self.model.device)
            where = first_nonfinite_layer(
                decoder_layers(self.model, self.family),
                lambda: description_losses(self.adapted, self.family, inputs),
            )
            raise NotFiniteError(f"sample {worst.sample_id}: the loss is not finite, {where}")
        return losses, counts
