"""What a model says of items once a window of layers reads part of the image no longer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, product

import numpy as np
import pandas as pd
import torch

from headimpact.dataset.coco import CocoFolder
from headimpact.guards import AdaptiveBatch
from headimpact.knockout_names import QUESTION_ROWS
from headimpact.models import prompts
from headimpact.models.family import EncodedImage, Family, Sequence
from headimpact.models.features import compute
from headimpact.models.intervened_attention import Variant
from headimpact.models.interventions import (
    Intervention,
    branch_tokens,
    passes_per_branch,
    predict_under_interventions,
)
from headimpact.scores.knockout_design import row_set, window
from headimpact.table_kinds import LABEL_COLUMNS, LABELS

Place = tuple[str | None, str | None, int | None]  # rows, source and layer; None for no knockout
PLAIN = (None, None, None)


@dataclass(frozen=True)
class KnockoutSettings:
    """The keys of `knockout` that decide what is taken away and what the model is asked."""

    width: int
    rows: list[str]
    sources: list[str]
    outcomes: list[str]
    variant: Variant


@dataclass(frozen=True)
class _Task:
    """What the model is asked of an item.

    rows: the names of the rows that lose reads. summarise: from log-probabilities (target tokens,
    vocabulary) to the columns of a row of kind "knockouts".
    """

    image: EncodedImage
    sequence: Sequence
    rows: list[str]
    summarise: Callable[[torch.Tensor], dict]


def knockout_rows(
    model,
    family: Family,
    images: CocoFolder,
    samples: pd.DataFrame,
    items: pd.DataFrame,
    token_sets: dict[int, dict[str, np.ndarray]],
    questions: pd.DataFrame | None,
    settings: KnockoutSettings,
    batch: int,
) -> Iterator[list[dict]]:
    """Yield rows of kind "knockouts" for each item, that without a knockout first.

    samples: those of the items. items: of kind "objects", one an image. token_sets: what
    `knockout_design.token_sets` returns. questions: of kind "questions", for the outcome
    "question". batch: most knockouts in one pass, fewer where a GPU runs out of memory. Raises
    NotFiniteError, naming the sample, if a prediction is not finite.
    """
    run_in_batches = AdaptiveBatch(batch, "knockouts")
    item_of = {item.sample_id: item for item in items.itertuples()}
    question_of = {} if questions is None else questions.set_index("object_id").to_dict("index")
    for sample, features in compute(model, family, images, samples, desc="knockouts"):
        item, image = item_of[sample.sample_id], family.encoded_image(sample, features)
        known = token_sets[item.object_id]
        sources = {name: known[name] for name in settings.sources if name in known}
        table = []
        for outcome in settings.outcomes:
            if outcome == "description":
                task = _describe(family, image, item.description, settings)
            else:
                task = _ask(family, image, question_of[item.object_id], settings)

            def run(places: list[Place], task: _Task = task, sources: dict = sources):
                return _knock_out(model, family, task, places, sources, settings)

            places = [PLAIN, *product(task.rows, sources, range(family.layers))]
            for row in chain.from_iterable(run_in_batches(run, places)):
                table.append({"object_id": item.object_id, "outcome": outcome, **row})
        yield table


def _knock_out(
    model,
    family: Family,
    task: _Task,
    places: list[Place],
    sources: dict[str, np.ndarray],
    settings: KnockoutSettings,
) -> list[dict]:
    """The columns of each place's row, but for object and outcome; the places share a pass."""
    sequence, tokens = task.sequence, branch_tokens(family, task.sequence)
    interventions = []
    for rows, source, layer in places:
        heads = torch.zeros(family.layers, family.heads, dtype=torch.bool)
        if layer is None:
            interventions.append(Intervention(heads))
            continue
        heads[window(layer, settings.width, family.layers)] = True
        columns = torch.from_numpy(sources[source])
        interventions.append(Intervention(heads, row_set(rows, tokens, sequence), columns))
    predictions = predict_under_interventions(
        model, family, task.image, sequence, interventions, settings.variant, len(places)
    )
    passes = passes_per_branch(family, sequence, len(places))
    return [
        {
            "rows": rows,
            "source": source,
            "layer": layer,
            "image_tokens": 0 if source is None else int(sources[source].sum()),
            "passes": passes,
            **dict.fromkeys(("log_probability", "tokens", "answer")),
            **dict.fromkeys(LABEL_COLUMNS),
            **task.summarise(logs),
        }
        for (rows, source, layer), logs in zip(places, predictions, strict=True)
    ]


def _describe(
    family: Family, image: EncodedImage, description: str, settings: KnockoutSettings
) -> _Task:
    """The description of an object."""
    sequence = prompts.description(family, image.grid, description)
    target = torch.tensor(sequence.ids[sequence.start :])[:, None]

    def summarise(logs: torch.Tensor) -> dict:
        total = logs.double().gather(-1, target.to(logs.device)).sum()
        return {"log_probability": total.item(), "tokens": len(target)}

    return _Task(image, sequence, settings.rows, summarise)


def _ask(family: Family, image: EncodedImage, question: dict, settings: KnockoutSettings) -> _Task:
    """The four-option question about an object."""
    options = [question[f"option_{label}"] for label in LABELS]
    sequence, label_ids = prompts.question(family, image.grid, options)

    def summarise(logs: torch.Tensor) -> dict:
        values = logs[0, label_ids.to(logs.device)].tolist()
        return {"answer": question["answer"], **dict(zip(LABEL_COLUMNS, values, strict=True))}

    rows = [name for name in settings.rows if name in QUESTION_ROWS]
    return _Task(image, sequence, rows, summarise)
