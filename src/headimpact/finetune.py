"""LoRA on chosen decoder layers, on the tokens of the descriptions (section 5.3)."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tqdm import tqdm
from transformers import Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

IGNORE = -100


@dataclass(frozen=True)
class Item:
    """One description to learn: what the frozen vision tower made of its image, and the text."""

    features: torch.Tensor  # (visual tokens, hidden)
    grid: object
    sequence: object


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


def make_items(model, family, folder, samples, objects, batch=16):
    """The Items of `objects`; the images pass the vision tower once, `batch` at a time."""
    features, grids = {}, {}
    rows = list(samples.itertuples())
    for i in tqdm(range(0, len(rows), batch), desc="images", unit="batch"):
        part = rows[i : i + batch]
        images = [folder.image(row.file_name) for row in part]
        for row, values in zip(part, family.features(model, images), strict=True):
            features[row.sample_id] = values.cpu()
            grids[row.sample_id] = family.grid(row.width, row.height)
    return [
        Item(
            features[item.sample_id],
            grids[item.sample_id],
            family.description(grids[item.sample_id], item.description),
        )
        for item in objects.itertuples()
    ]


class Collator:
    """Items to a batch, padded on the right; labels on the description's tokens only."""

    def __init__(self, family):
        self.family = family

    def __call__(self, items):
        family, sequences = self.family, [item.sequence for item in items]
        length = max(len(sequence.ids) for sequence in sequences)
        shape = (len(items), length)
        ids, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        labels, positions = torch.full(shape, IGNORE), []
        for row, (item, sequence) in enumerate(zip(items, sequences, strict=True)):
            n, start = len(sequence.ids), sequence.start
            tokens = torch.tensor(sequence.ids)
            ids[row, :n], mask[row, :n], labels[row, start:n] = tokens, 1, tokens[start:]
            padded = sequence.ids + (0,) * (length - n)
            positions.append(family.positions(padded, item.grid))
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": family.arrange(torch.stack(positions)),
            "labels": labels,
            "features": [item.features for item in items],
            **family.text_inputs([sequence.start for sequence in sequences], length),
        }


class DescriptionTrainer(Trainer):
    """transformers' Trainer, fed with image features and judged by perplexity, equation (3)."""

    def __init__(self, family, **options):
        super().__init__(data_collator=Collator(family), **options)
        self.family = family

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss = description_losses(model, self.family, inputs)[0]
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss of step {self.state.global_step} is not finite")
        return (loss, {}) if return_outputs else loss

    @torch.no_grad()
    def evaluate(self, *_args, **_options):
        self.model.eval()
        total = 0.0
        for inputs in self.get_eval_dataloader():
            total += description_losses(self.model, self.family, self._prepare_inputs(inputs))[1]
        self.model.train()
        metrics = {"eval_perplexity": math.exp(total / len(self.eval_dataset))}
        self.log(metrics)
        return metrics


def description_losses(model, family, inputs):
    """Mean loss over the batch's description tokens, and the items' mean losses summed."""
    inputs = dict(inputs)
    labels, features = inputs.pop("labels")[:, 1:], inputs.pop("features")
    outputs = family.encoder_outputs(features)
    # logits only where a description's token comes next: the vocabulary is the widest layer
    kept = (labels != IGNORE).any(0).nonzero()[:, 0]
    labels = labels[:, kept]
    logits = model(
        **inputs, mm_encoder_outputs=outputs, use_cache=False, logits_to_keep=kept
    ).logits.float()
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="none"
    ).view(labels.shape)
    counts = (labels != IGNORE).sum(1)
    return losses.sum() / counts.sum(), (losses.sum(1) / counts).sum().item()


def finetune(model, family, layers, items, validation, lora, training, work, adapter):
    """Train the adapter of one setup and leave it, at its best epoch, in the folder `adapter`.

    layers: of the decoder, list of int. items, validation: lists of Item. training: epochs,
    batch_size, learning_rate, warmup (share of the steps), weight_decay, seed. work: folder for
    the epochs' checkpoints, from which an interrupted training goes on; it must be of this very
    training. Returns the history (list of dict): loss and validation perplexity by epoch.
    """
    set_seed(training["seed"])
    adapted = add_adapter(model, family, layers, lora)
    steps = math.ceil(len(items) / training["batch_size"]) * training["epochs"]
    arguments = TrainingArguments(
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
        use_cpu=model.device.type == "cpu",
        dataloader_pin_memory=False,
        seed=training["seed"],
        report_to=[],
    )
    trainer = DescriptionTrainer(
        family,
        model=adapted,
        args=arguments,
        train_dataset=items,
        eval_dataset=validation,
    )
    last = get_last_checkpoint(str(work)) if Path(work).is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    adapted.save_pretrained(adapter)
    return trainer.state.log_history
