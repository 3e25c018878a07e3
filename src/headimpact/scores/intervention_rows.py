"""What a model says of items once chosen heads read nothing of the image, as rows of a table."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain

import numpy as np
import pandas as pd
import torch

from headimpact.dataset.coco import CocoFolder
from headimpact.guards import AdaptiveBatch
from headimpact.models import prompts
from headimpact.models.features import compute
from headimpact.models.intervened_attention import Variant
from headimpact.models.interventions import (
    Intervention,
    passes_per_branch,
    predict_under_interventions,
)
from headimpact.scores.attention import pack
from headimpact.table_kinds import LABEL_COLUMNS, LABELS

DESCRIPTION_COLUMNS = ["log_probability", "tokens", "kl"]


def intervention_rows(
    model,
    family,
    images: CocoFolder,
    samples: pd.DataFrame,
    items: pd.DataFrame,
    questions: pd.DataFrame | None,
    ablated_heads: Callable[[int, int, int], np.ndarray],
    design: str,
    variant: Variant,
    outcomes: list[str],
    batch: int,
) -> Iterator[dict]:
    """Yield a table (dict of columns) of kind "interventions" for each item.

    samples: those of the items. items: of kind "objects", one an image. questions: of kind
    "questions", for the outcome "question". ablated_heads: (object_id, layers, heads) -> bool
    (sets, layers, heads), the sets of heads that lose their reads. The first row of an item, of the
    design "none", is that of no intervention. batch: most sets in one pass, fewer where a GPU runs
    out of memory. Raises NotFiniteError, naming the sample, if a prediction is not finite.
    """
    run_in_batches = AdaptiveBatch(batch, "interventions")
    item_of = {item.sample_id: item for item in items.itertuples()}
    question_of = {} if questions is None else questions.set_index("object_id").to_dict("index")
    for sample, features in compute(model, family, images, samples, desc=f"{design} interventions"):
        item, image = item_of[sample.sample_id], family.encoded_image(sample, features)
        ablated = ablated_heads(item.object_id, family.layers, family.heads)
        ablated = np.concatenate([np.zeros_like(ablated[:1]), ablated])
        interventions = [Intervention(torch.from_numpy(heads)) for heads in ablated]
        predict = partial(_predict, model, family, image, variant, run_in_batches, interventions)
        columns = [*DESCRIPTION_COLUMNS, *LABEL_COLUMNS, "answer"]
        table = dict.fromkeys(columns, [None] * len(ablated))
        table["passes"] = np.zeros(len(ablated))
        if "description" in outcomes:
            values, passes = _describe(predict, family, image.grid, item.description)
            table |= dict(zip(DESCRIPTION_COLUMNS, zip(*values, strict=True), strict=True))
            table["passes"] += passes
        if "question" in outcomes:
            question = question_of[item.object_id]
            options = [question[f"option_{label}"] for label in LABELS]
            values, passes = _ask(predict, family, image.grid, options)
            table |= dict(zip(LABEL_COLUMNS, zip(*values, strict=True), strict=True))
            table["answer"] = [question["answer"]] * len(ablated)
            table["passes"] += passes
        yield table | {
            "object_id": [item.object_id] * len(ablated),
            "design": ["none", *[design] * (len(ablated) - 1)],
            "variant": [variant] * len(ablated),
            "layers": [family.layers] * len(ablated),
            "heads": [family.heads] * len(ablated),
            "ablated": pack(ablated.reshape(len(ablated), -1)),
        }


def _describe(predict, family, grid, description):
    """(log-probability, tokens, divergence) of each set, and its cost in plain passes."""
    sequence = prompts.description(family, grid, description)
    target = torch.tensor(sequence.ids[sequence.start :])
    plain = None

    def summarise(logs):
        nonlocal plain
        logs = logs.double()
        # the first prediction is that of no intervention
        plain = logs if plain is None else plain
        divergence = (plain.exp() * (plain - logs)).sum(-1).mean()
        total = logs.gather(-1, target.to(logs.device)[:, None]).sum()
        return total.item(), len(target), divergence.item()

    return predict(sequence, summarise)


def _ask(predict, family, grid, options):
    """Log-probabilities of the labels A to D for each set, and its cost in plain passes."""
    sequence, label_ids = prompts.question(family, grid, options)
    return predict(sequence, lambda logs: logs[0, label_ids.to(logs.device)].tolist())


def _predict(model, family, image, variant, run_in_batches, interventions, sequence, summarise):
    """`summarise` of each intervention's predictions, and its cost in passes of the sequence."""

    def run(batch):
        predictions = predict_under_interventions(
            model, family, image, sequence, batch, variant, pieces=len(batch)
        )
        cost = passes_per_branch(family, sequence, len(batch))
        return [(summarise(logs), cost) for logs in predictions]

    results = chain.from_iterable(run_in_batches(run, interventions))
    values, passes = zip(*results, strict=True)
    return values, np.array(passes)
