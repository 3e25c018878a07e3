"""How much a model's answer loses once a window of layers reads part of the image no longer.

The relative change of a probability is that of Zhang et al. (2025), arXiv 2411.18620:
100 (p1 - p0) / p0, where p0 is the probability without and p1 that with the knockout.
"""

import numpy as np
import pandas as pd

from headimpact.guards import UserError
from headimpact.scores.head_impact import images_of
from headimpact.scores.inputs import ScoreInputs, Scores
from headimpact.scores.interventions import label_logs
from headimpact.statistics import clustered_error

DROP = {"description": "log_probability", "question": "margin"}  # the score's measures
PLACE = ["rows", "source", "layer"]


def knockout(inputs: ScoreInputs, outcome: str, rows: str, source: str) -> Scores:
    """What the window around each layer costs, in nats: a number a layer, higher for a larger drop.

    outcome: "description" takes the drop of the mean log-probability of its tokens, "question" that
    of the margin of the right label over the best wrong one. rows, source: see `knockout_names`.
    Raises UserError if no item has such a knockout.
    """
    changes = knockout_changes(inputs.knockouts)
    chosen = changes[
        (changes["measure"] == DROP[outcome])
        & (changes["rows"] == rows)
        & (changes["source"] == source)
    ]
    if chosen.empty:
        raise UserError(
            f"no item has a knockout of {source} from {rows} with the outcome {outcome}; choose "
            f"another source, or more knockout.items"
        )
    drops = -chosen.pivot(index="object_id", columns="layer", values="change")
    items, images = drops.to_numpy(), images_of(drops.index, inputs.objects)
    error = clustered_error(items, images)
    return Scores(
        items.mean(0),
        error,
        len(items),
        items=items,
        images=images,
        cost=_passes(inputs.knockouts, outcome, rows, source),
    )


def _passes(knockouts: pd.DataFrame, outcome: str, rows: str, source: str) -> float:
    """The cost of these knockouts, and of the rows without one, in plain passes."""
    used = (knockouts["rows"] == rows) & (knockouts["source"] == source)
    used |= knockouts["layer"].isna()
    return float(knockouts.loc[used & (knockouts["outcome"] == outcome), "passes"].sum())


def knockout_changes(knockouts: pd.DataFrame) -> pd.DataFrame:
    """How each knockout changes what the model says of an item.

    knockouts: a table of that kind. Returns the columns object_id, outcome, measure, rows, source,
    layer, image_tokens and change. The measures of a description are its "probability", the
    geometric mean over its tokens, with the relative change in percent; and "log_probability", the
    mean over its tokens, in nats. Those of a question are the right label's "probability", in
    percent, over the items that the model answers rightly without a knockout; and "margin", the
    right label's log-probability minus the best wrong label's, in nats.
    """
    values = pd.concat([_description_values(knockouts), _question_values(knockouts)])
    is_plain = values["layer"].isna()
    item = ["object_id", "outcome", "measure"]
    plain = values.loc[is_plain, [*item, "value", "answered_rightly"]]
    pairs = values[~is_plain].drop(columns="answered_rightly")
    pairs = pairs.merge(plain, on=item, suffixes=("", "_plain"), validate="many_to_one")
    pairs["change"] = pairs["value"] - pairs["value_plain"]
    relative = pairs["measure"] == "probability"
    pairs.loc[relative, "change"] = 100 * np.expm1(pairs.loc[relative, "change"])
    # where the model is wrong, the right label's probability may be tiny, and the quotient huge
    pairs = pairs[~relative | pairs["answered_rightly"]]
    columns = [*item, *PLACE, "image_tokens", "change"]
    return pairs[columns].astype({"layer": int}).reset_index(drop=True)


def _description_values(knockouts: pd.DataFrame) -> pd.DataFrame:
    """The mean log-probability of each description, under both of its measures."""
    rows = knockouts[knockouts["outcome"] == "description"]
    values = rows.assign(value=rows["log_probability"] / rows["tokens"], answered_rightly=True)
    return pd.concat(values.assign(measure=name) for name in ("probability", "log_probability"))


def _question_values(knockouts: pd.DataFrame) -> pd.DataFrame:
    """The right label's log-probability, and its margin over the best wrong label's."""
    rows = knockouts[knockouts["outcome"] == "question"]
    right, best_wrong = label_logs(rows)
    rows = rows.assign(answered_rightly=right > best_wrong)
    values = {"probability": right, "margin": right - best_wrong}
    return pd.concat(rows.assign(measure=name, value=value) for name, value in values.items())
