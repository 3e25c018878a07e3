"""The plain ways: what one writes with transformers and PEFT who does not think of time.

Every pass starts from pixels, attention comes from `output_attentions`, logits stand everywhere.
"""

import math
from itertools import chain

import torch
from torch.utils.data import Dataset, Sampler
from transformers import PreTrainedModel, Trainer, TrainingArguments, set_seed

from headimpact.models import prompts
from headimpact.models.features import read_ahead
from headimpact.models.layout import IGNORE
from headimpact.artifacts import LABELS
from headimpact.scores.head_impact import binarise, pack
from headimpact.training.batches import shuffled_batches
from headimpact.training.finetune import seed_epoch
from headimpact.training.lora import add_adapter, load_adapter


def text_inputs(family, sequences):
    """The inputs of the model's own forward beside pixels, padded on the right."""
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


def to(device, inputs):
    return {name: value.to(device) for name, value in inputs.items()}


@torch.no_grad()
def floor(model, family, folder, samples, objects):
    """One bare pass an image, with the fastest attention, logits at one position."""
    first = objects.groupby("sample_id")["description"].first()
    for sample, pixels in read_ahead(family, folder, samples, "floor"):
        grid = family.grid(sample.width, sample.height)
        sequence = prompts.description(family, grid, first[sample.sample_id])
        inputs = to(model.device, {**pixels, **text_inputs(family, [sequence])})
        model(**inputs, use_cache=False, logits_to_keep=1).logits.cpu()


@torch.no_grad()
def attended(model, family, folder, samples, objects):
    """Which tokens each head attends to, one eager pass with all attention an object.

    Yields a list of bytes for each object: layer by layer, head by head.
    """
    configs = [m.config for m in model.modules() if isinstance(m, PreTrainedModel)]
    before = [config._attn_implementation for config in configs]
    model.set_attn_implementation("eager")  # as from_pretrained(attn_implementation="eager")
    try:
        for sample, pixels in read_ahead(family, folder, samples, "plain attention"):
            grid = family.grid(sample.width, sample.height)
            pixels = to(model.device, pixels)
            for text in objects.loc[objects["sample_id"] == sample.sample_id, "description"]:
                sequence = prompts.description(family, grid, text)
                inputs = to(model.device, text_inputs(family, [sequence]))
                out = model(**pixels, **inputs, output_attentions=True)
                visual = inputs["input_ids"][0] == family.image_token
                rows = [layer[0, :, sequence.start :, visual].mean(1) for layer in out.attentions]
                yield pack(binarise(torch.stack(rows).double().flatten(0, 1)).cpu().numpy())
    finally:
        # a whole model's comes before its parts', which it sets, too
        for config, implementation in zip(configs, before, strict=True):
            config._attn_implementation = implementation


class Described(Dataset):
    """An item is an image's name, its size and the conversation; pixels come with the batch."""

    def __init__(self, family, samples, objects):
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
    """transformers' Trainer from pixels; batches as ours, so that losses can be compared."""

    def __init__(self, family, folder, lengths, **options):
        super().__init__(data_collator=self.collate, **options)
        self.family, self.folder, self.lengths = family, folder, lengths

    def _get_train_sampler(self, train_dataset=None):
        return SameBatches(self.lengths, self.args.per_device_train_batch_size, self.args.seed)

    def collate(self, items):
        pixels = self.family.pixels([self.folder.image(name) for name, _ in items])
        inputs = text_inputs(self.family, [sequence for _, sequence in items])
        labels = inputs["input_ids"].clone()
        labels[inputs["attention_mask"] == 0] = IGNORE
        for row, (_, sequence) in enumerate(items):
            labels[row, : sequence.start] = IGNORE
        return {**pixels, **inputs, "labels": labels}

    @torch.no_grad()
    def evaluate(self, *_args, **_options):
        """Perplexity as the study's: a mean over items, by which the best epoch is chosen."""
        self.model.eval()
        losses, items = [], self.eval_dataset.items
        size = self.args.per_device_eval_batch_size
        # no DataLoader: it draws a seed, and the next epoch's order would be another
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


def finetune(model, family, folder, layers, train, validation, lora, training, work, adapter):
    """As headimpact.training.finetune.finetune, from (samples, objects) of each split."""
    data, judged = Described(family, *train), Described(family, *validation)
    set_seed(training["seed"])
    adapted = add_adapter(model, family, layers, **lora)
    trainer = PlainTrainer(
        family,
        folder,
        [len(sequence.ids) for _, sequence in data.items],
        model=adapted,
        args=_arguments(training, len(data), work, model.device),
        train_dataset=data,
        eval_dataset=judged,
    )
    trainer.train()
    adapted.save_pretrained(adapter)
    return trainer.state.log_history


@torch.no_grad()
def evaluate(model, family, folder, samples, objects, asked, adapter):
    """One setup's test: a pass for the description, a pass for the question, all logits."""
    if adapter:
        load_adapter(model, adapter)
    items = zip(objects["sample_id"], objects["description"], asked, strict=True)
    asked = {sample_id: (text, options) for sample_id, text, (options, _) in items}
    rows = []
    for sample, pixels in read_ahead(family, folder, samples, "plain evaluation"):
        grid = family.grid(sample.width, sample.height)
        pixels = to(model.device, pixels)
        text, options = asked[sample.sample_id]
        described = prompts.description(family, grid, text)
        choices = prompts.choices(family, grid, options)
        logs = _logs(model, family, pixels, described)
        targets = range(described.start, len(described.ids))
        nll = -sum(logs[i - 1, described.ids[i]].item() for i in targets)
        label_logs = _logs(model, family, pixels, choices[0])[choices[0].start - 1]
        shares = [label_logs[choice.ids[-1]].exp().item() for choice in choices]
        rows.append({"nll": nll, **dict(zip(LABELS, shares, strict=True))})
    return rows


def _logs(model, family, pixels, sequence):
    inputs = to(model.device, text_inputs(family, [sequence]))
    return model(**pixels, **inputs, use_cache=False).logits[0].float().log_softmax(-1)
