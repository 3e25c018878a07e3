"""LoRA on chosen decoder layers, on the tokens of the descriptions (section 5.3)."""

import math
import re
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from headimpact.batches import IGNORE, ByLength, Collator, like_lengths
from headimpact.frozen import handing_on, keep_states


def add_adapter(model, family, layers, lora):
    """`model` as a PEFT model with LoRA on the attention of `layers` of its decoder alone.

    lora: rank, alpha, dropout and targets (names of projections, as in config.yaml).
    Raises ValueError if the adapted modules are not exactly those.
    """
    names = "|".join(map(re.escape, lora["targets"]))
    numbers = "|".join(str(layer) for layer in layers)
    pattern = rf"{re.escape(family.decoder)}\.layers\.({numbers})\.self_attn\.({names})"
    config = LoraConfig(
        r=lora["rank"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        bias="none",
        target_modules=pattern,
    )
    adapted = get_peft_model(model, config)
    found = len(adapted.targeted_module_names)
    wanted = len(layers) * len(lora["targets"])
    if found != wanted:
        raise ValueError(f"LoRA met {found} modules, not {wanted}; check lora.targets")
    return adapted


class DescriptionTrainer(Trainer):
    """transformers' Trainer, fed with image features and judged by perplexity, equation (3)."""

    def __init__(self, family, by_length, few_logits, **options):
        super().__init__(data_collator=Collator(family, few_logits), **options)
        self.family, self.by_length = family, by_length

    def _get_train_sampler(self, train_dataset=None):
        if not self.by_length:
            return super()._get_train_sampler(train_dataset)
        return ByLength([*map(len, self.train_dataset)], self.args.per_device_train_batch_size)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss = description_losses(model, self.family, inputs)[0]
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss of step {self.state.global_step} is not finite")
        return (loss, {}) if return_outputs else loss

    @torch.no_grad()
    def evaluate(self, *_args, **_options):
        self.model.eval()
        losses, items = [], self.eval_dataset
        for numbers in like_lengths([*map(len, items)], self.args.per_device_eval_batch_size):
            batch = self.data_collator([items[number] for number in numbers])
            inputs = self._prepare_inputs(batch)
            losses.append(description_losses(self.model, self.family, inputs)[1])
        self.model.train()
        metrics = {"eval_perplexity": math.exp(torch.cat(losses).mean())}
        self.log(metrics)
        return metrics


def description_losses(model, family, inputs):
    """Mean loss over the batch's description tokens, and each item's mean loss (batch,).

    inputs: what Collator gives, on the model's device.
    """
    inputs = dict(inputs)
    labels = inputs.pop("labels")
    if "features" in inputs:
        inputs["mm_encoder_outputs"] = family.encoder_outputs(inputs.pop("features"))
    logits = model(**inputs, use_cache=False).logits.float()
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="none"
    ).view(labels.shape)
    counts = (labels != IGNORE).sum(1)
    return losses.sum() / counts.sum(), losses.sum(1) / counts


def training_arguments(training, items, work, device):
    """What transformers' Trainer is told; training, work: see `finetune`. items: how many."""
    steps = math.ceil(items / training["batch_size"]) * training["epochs"]
    return TrainingArguments(
        output_dir=str(work),
        num_train_epochs=training["epochs"],
        per_device_train_batch_size=training["batch_size"],
        per_device_eval_batch_size=training["batch_size"],
        learning_rate=training["learning_rate"],
        warmup_steps=round(training["warmup"] * steps),
        weight_decay=training["weight_decay"],
        lr_scheduler_type="cosine",
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_perplexity",
        greater_is_better=False,
        remove_unused_columns=False,
        label_names=["labels"],
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=False,
        seed=training["seed"],
        report_to=[],
    )


def finetune(model, family, layers, items, validation, lora, training, shortcuts, work, adapter):
    """Train the adapter of one setup and leave it, at its best epoch, in the folder `adapter`.

    layers: of the decoder, list of int. items, validation: lists of Item. training: epochs,
    batch_size, by_length, learning_rate, warmup (share of the steps), weight_decay, seed.
    shortcuts: few_logits and frozen_layers, as in config.yaml. work: folder for the epochs'
    checkpoints, from which an interrupted training goes on; it must be of this very training.
    Returns the history (list of dict): loss and validation perplexity by epoch.
    """
    below = min(layers)
    if not shortcuts["frozen_layers"] or model.config.get_text_config().attention_dropout:
        below = 0
    if below:
        items, validation = (
            keep_states(model, family, part, below, training["batch_size"])
            for part in (items, validation)
        )
    set_seed(training["seed"])
    adapted = add_adapter(model, family, layers, lora)
    trainer = DescriptionTrainer(
        family,
        training["by_length"],
        shortcuts["few_logits"],
        model=adapted,
        args=training_arguments(training, len(items), work, model.device),
        train_dataset=items,
        eval_dataset=validation,
    )
    last = get_last_checkpoint(str(work)) if Path(work).is_dir() else None
    with handing_on(model, family, slice(below)):
        trainer.train(resume_from_checkpoint=last)
    adapted.save_pretrained(adapter)
    return trainer.state.log_history
