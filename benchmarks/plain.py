"""The plain ways: the same results with transformers and PEFT, written without regard to time.

Every pass starts from pixels, attention comes from `output_attentions`, and logits are computed at
every position.
"""

import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pandas as pd
import torch
from torch.utils.data import Dataset, Sampler
from transformers import PreTrainedModel, Trainer, TrainingArguments, set_seed

from benchmarks.pictures import Images
from headimpact.models import prompts
from headimpact.models.family import Family, Sequence
from headimpact.models.features import read_ahead
from headimpact.models.layout import IGNORE
from headimpact.scores.attention import binarise, pack
from headimpact.table_kinds import LABELS
from headimpact.training.batches import move_to_device, shuffled_batches
from headimpact.training.finetune import seed_epoch
from headimpact.training.lora import add_adapter, load_adapter


def text_inputs(family: Family, sequences: list[Sequence]) -> dict[str, torch.Tensor]:
    """The inputs of the model's own forward beside pixels, (batch, length), padded on the right."""
    length = max(len(sequence.ids) for sequence in sequences)
    ids = torch.zeros(len(sequences), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)
        mask[row, : len(sequence.ids)] = 1
    inputs = {"input_ids": ids, "attention_mask": mask}
    if family.model_type == "paligemma":
        starts = torch.tensor([sequence.start for sequence in sequences])
        inputs["token_type_ids"] = (torch.arange(length) >= starts[:, None]).long()
    if family.model_type == "qwen2_vl":
        inputs["mm_token_type_ids"] = (ids == family.image_token).int()
    return inputs


@torch.no_grad()
def bare_passes(
    model: torch.nn.Module,
    family: Family,
    images: Images,
    samples: pd.DataFrame,
    objects: pd.DataFrame,
) -> None:
    """One pass an image with the model's fastest attention and logits at one position."""
    first = objects.groupby("sample_id")["description"].first()
    for sample, pixels in read_ahead(family, images, samples, "bare passes"):
        grid = family.grid(sample.width, sample.height)
        sequence = prompts.description(family, grid, first[sample.sample_id])
        inputs = move_to_device({**pixels, **text_inputs(family, [sequence])}, model.device)
        model(**inputs, use_cache=False, logits_to_keep=1).logits.cpu()


@torch.no_grad()
def attended_tokens(
    model: torch.nn.Module,
    family: Family,
    images: Images,
    samples: pd.DataFrame,
    objects: pd.DataFrame,
) -> Iterator[list[bytes]]:
    """Which image tokens lie above the mean, by an eager pass an object that returns all attention.

    Yields the packed bits of an object, layer by layer and head by
    head.
    """
    configs = [m.config for m in model.modules() if isinstance(m, PreTrainedModel)]
    before = [config._attn_implementation for config in configs]
    model.set_attn_implementation("eager")  # as from_pretrained(attn_implementation="eager")
    try:
        for sample, pixels in read_ahead(family, images, samples, "plain attention"):
            grid = family.grid(sample.width, sample.height)
            pixels = move_to_device(pixels, model.device)
            for text in objects.loc[objects["sample_id"] == sample.sample_id, "description"]:
                sequence = prompts.description(family, grid, text)
                inputs = move_to_device(text_inputs(family, [sequence]), model.device)
                output = model(**pixels, **inputs, output_attentions=True)
                is_image = inputs["input_ids"][0] == family.image_token
                rows = [a[0, :, sequence.start :, is_image].mean(1) for a in output.attentions]
                yield pack(binarise(torch.stack(rows).double().flatten(0, 1)).cpu().numpy())
    finally:
        # modules() yields a model before its submodels, whose implementation it sets, too
        for config, implementation in zip(configs, before, strict=True):
            config._attn_implementation = implementation


class Descriptions(Dataset):
    """An item is an image's name and the conversation; pixels come with the batch."""

    def __init__(self, family: Family, samples: pd.DataFrame, objects: pd.DataFrame):
        rows = objects.merge(samples, on="sample_id")
        grids = [family.grid(row.width, row.height) for row in rows.itertuples()]
        self.items = [
            (row.file_name, prompts.description(family, grid, row.description))
            for row, grid in zip(rows.itertuples(), grids, strict=True)
        ]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, number):
        return self.items[number]


class SameBatches(Sampler):
    """The batches of headimpact.training.finetune, epoch by epoch."""

    def __init__(self, lengths, batch_size, seed):
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def __len__(self):
        return len(self.lengths)

    def __iter__(self):
        seed_epoch(self.seed, self.epoch)
        self.epoch += 1
        return chain.from_iterable(shuffled_batches(self.lengths, self.batch_size))


class PlainTrainer(Trainer):
    """transformers' Trainer from pixels, with the batches of headimpact.training.finetune."""

    def __init__(self, family, images, lengths, **options):
        super().__init__(data_collator=self.collate, **options)
        self.family, self.images, self.lengths = family, images, lengths

    def _get_train_sampler(self, train_dataset=None):
        return SameBatches(self.lengths, self.args.per_device_train_batch_size, self.args.seed)

    def collate(self, items: list[tuple[str, Sequence]]) -> dict[str, torch.Tensor]:
        """The model's inputs and labels."""
        pixels = self.family.pixels([self.images.image(name) for name, _ in items])
        inputs = text_inputs(self.family, [sequence for _, sequence in items])
        labels = inputs["input_ids"].clone()
        labels[inputs["attention_mask"] == 0] = IGNORE
        for row, (_, sequence) in enumerate(items):
            labels[row, : sequence.start] = IGNORE
        return {**pixels, **inputs, "labels": labels}

    @torch.no_grad()
    def evaluate(self, *_args, **_options) -> dict[str, float]:
        """Perplexity as in the study: of the mean over items, by which the best epoch is chosen."""
        self.model.eval()
        losses, items = [], self.eval_dataset.items
        size = self.args.per_device_eval_batch_size
        # a DataLoader would draw a seed and so change the order of the next epoch
        for i in range(0, len(items), size):
            inputs = self._prepare_inputs(self.collate(items[i : i + size]))
            labels = inputs.pop("labels")[:, 1:]
            logits = self.model(**inputs, use_cache=False).logits[:, :-1].float()
            each = torch.nn.functional.cross_entropy(
                logits.transpose(1, 2), labels, ignore_index=IGNORE, reduction="none"
            )
            losses.append(each.sum(1) / (labels != IGNORE).sum(1))
        self.model.train()
        metrics = {"eval_perplexity": torch.cat(losses).mean().exp().item()}
        self.log(metrics)
        return metrics


def _arguments(training, items, work, device):
    """Arguments with which transformers' Trainer trains as headimpact.training.finetune does."""
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


def finetune(
    model: torch.nn.Module,
    family: Family,
    images: Images,
    layers: list[int],
    train: tuple[pd.DataFrame, pd.DataFrame],
    validation: tuple[pd.DataFrame, pd.DataFrame],
    lora: dict,
    training: dict,
    work: Path,
    adapter: Path,
) -> list[dict]:
    """The training of headimpact.training.finetune, by transformers' Trainer and from pixels.

    train, validation: samples and objects. lora: the options of `add_adapter`. work: a folder for
    the Trainer's checkpoints. adapter: the folder of the trained adapter.
    Returns the Trainer's log, a dict an epoch with its loss and a dict with its perplexity.
    """
    training_items, validation_items = (
        Descriptions(family, *train),
        Descriptions(family, *validation),
    )
    set_seed(training["seed"])
    adapted = add_adapter(model, family, layers, **lora)
    trainer = PlainTrainer(
        family,
        images,
        [len(sequence.ids) for _, sequence in training_items.items],
        model=adapted,
        args=_arguments(training, len(training_items), work, model.device),
        train_dataset=training_items,
        eval_dataset=validation_items,
    )
    trainer.train()
    adapted.save_pretrained(adapter)
    return trainer.state.log_history


@torch.no_grad()
def evaluate(
    model: torch.nn.Module,
    family: Family,
    images: Images,
    samples: pd.DataFrame,
    objects: pd.DataFrame,
    questions: pd.DataFrame,
    adapter: Path | None,
) -> list[dict]:
    """Rows of kind "answers": a pass for the description and one for the question, all logits.

    adapter: its folder; None for the model as it is.
    """
    if adapter:
        load_adapter(model, adapter)
    items = dict(list(objects.merge(questions, on="object_id").groupby("sample_id")))
    rows = []
    for sample, pixels in read_ahead(family, images, samples, "plain evaluation"):
        grid = family.grid(sample.width, sample.height)
        pixels = move_to_device(pixels, model.device)
        for item in items[sample.sample_id].itertuples():
            description = prompts.description(family, grid, item.description)
            options = [getattr(item, f"option_{label}") for label in LABELS]
            choices = prompts.choices(family, grid, options)
            logs = _log_probabilities(model, family, pixels, description)
            targets = range(description.start, len(description.ids))
            label_logs = _log_probabilities(model, family, pixels, choices[0])
            label_logs = label_logs[choices[0].start - 1]
            rows.append(
                {
                    "sample_id": item.sample_id,
                    "object_id": item.object_id,
                    "log_probability": sum(logs[i - 1, description.ids[i]].item() for i in targets),
                    "tokens": len(targets),
                    **{
                        f"log_{label}": label_logs[choice.ids[-1]].item()
                        for label, choice in zip(LABELS, choices, strict=True)
                    },
                }
            )
    return rows


def _log_probabilities(model, family, pixels, sequence):
    """Log-probabilities of the token after each token of a sequence, (length, vocabulary)."""
    inputs = move_to_device(text_inputs(family, [sequence]), model.device)
    return model(**pixels, **inputs, use_cache=False).logits[0].float().log_softmax(-1)
