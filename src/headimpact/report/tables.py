"""Tables 1, 2, 3 and 5 of the paper, computed without running a model."""

import numpy as np
import pandas as pd

from headimpact.scores.coverage import mask_tokens
from headimpact.statistics import kruskal


def table1(counts: dict[str, dict[str, int]]) -> pd.DataFrame:
    """Table 1: the sizes of the models; counts: {title: {parameters, layers and heads}}."""
    return pd.DataFrame(
        [
            {
                "model": title,
                "parameters": count["parameters"],
                "layers": count["layers"],
                "attention_heads": count["heads"],
            }
            for title, count in counts.items()
        ]
    )


def table2(scores: dict[str, dict[str, pd.DataFrame]]) -> pd.DataFrame:
    """Table 2: Kruskal-Wallis tests on the scores of the heads, three rows a score.

    scores: {title of the score: {title of the model: table of kind "scores"}}.
    """
    quantities, rows = ["statistic", "p_value", "degrees_of_freedom"], []
    for score, tables in scores.items():
        columns = {"score": score, "quantity": quantities}
        for title, table in tables.items():
            matrix = table.pivot(index="layer", columns="head", values="value").to_numpy()
            for name, test in kruskal(matrix).items():
                columns[f"{title} {name}"] = [test[quantity] for quantity in quantities]
        rows.append(pd.DataFrame(columns))
    return pd.concat(rows, ignore_index=True)


def table3(
    layers: dict[str, dict[tuple[str, int], list[int]]], top_setup: str | None
) -> pd.DataFrame:
    """Table 3: the trained layers of each setup; a row for each model, setup and draw.

    layers: {title: {(setup, draw): layers}}. top_setup: the setup with which `overlap_with_top`
    counts common layers; the column is empty for None.
    """
    rows = []
    for title, runs in layers.items():
        top_layers = runs.get((top_setup, 0))
        for (setup, draw), chosen in runs.items():
            overlap = None if top_layers is None else len({*chosen} & {*top_layers})
            rows.append((title, setup, draw, ", ".join(map(str, chosen)), overlap))
    columns = ["model", "setup", "draw", "layers", "overlap_with_top"]
    return pd.DataFrame(rows, columns=columns).astype({"overlap_with_top": "Int64"})


def uncovered_objects(
    tokens: dict[str, pd.DataFrame], objects: pd.DataFrame, mask_share: float
) -> pd.DataFrame:
    """The objects that cover no visual token of a model by `mask_share`, and so have no IoU.

    tokens: {title: table of kind "tokens"}. Returns a row for each model and object.
    """
    rows = []
    descriptions = objects.set_index("object_id")["description"]
    for title, table in tokens.items():
        covering = [mask_tokens(coverage, mask_share).any() for coverage in table["coverage"]]
        for object_id in table["object_id"][~np.array(covering, dtype=bool)]:
            rows.append((title, object_id, descriptions[object_id]))
    return pd.DataFrame(rows, columns=["model", "object_id", "description"])


def token_coverage(
    tokens: dict[str, pd.DataFrame], uncovered: pd.DataFrame, mask_share: float
) -> pd.DataFrame:
    """How many objects of each model cover no visual token, beside Table 2; a row a model.

    tokens: {title: table of kind "tokens"}. uncovered: see `uncovered_objects`, for the same
    mask_share.
    """
    rows = []
    for title, table in tokens.items():
        count = int((uncovered["model"] == title).sum())
        share = count / len(table) if len(table) else float("nan")
        rows.append((title, mask_share, len(table), count, round(share, 4)))
    names = ["model", "mask_share", "objects", "uncovered", "uncovered_share"]
    return pd.DataFrame(rows, columns=names)


def table5(counts: dict[str, dict[str, int]]) -> pd.DataFrame:
    """Table 5: all and the trainable parameters; counts: {title: {total and trainable}}."""
    return pd.DataFrame(
        [
            {
                "model": title,
                "total": count["total"],
                "trainable": count["trainable"],
                "trainable_percent": round(100 * count["trainable"] / count["total"], 4),
            }
            for title, count in counts.items()
        ]
    )
