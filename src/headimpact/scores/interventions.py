"""What is computed from a table of interventions: sets of heads, and what they change."""

import numpy as np
import pandas as pd

from headimpact.table_kinds import LABEL_COLUMNS, LABELS


def read_heads(rows: pd.DataFrame) -> np.ndarray:
    """The heads that lose their image reads, bool (rows, layers, heads).

    rows: a table of kind "interventions", of one model.
    """
    shape = rows["layers"].iloc[0], rows["heads"].iloc[0]
    packed = np.stack([np.frombuffer(bits, np.uint8) for bits in rows["ablated"]])
    return np.unpackbits(packed, axis=1, count=int(np.prod(shape))).astype(bool).reshape(-1, *shape)


def outcome_values(rows: pd.DataFrame, outcome: str) -> np.ndarray:
    """The outcome of each row, float64 (rows,), such that what the image reads give is positive.

    outcome: "log_probability", the description's, in nats, summed over its tokens; "kl", minus
    the divergence from the predictions without an intervention, in nats; "margin", the logarithm
    of the right label's probability minus that of the most probable wrong one.
    """
    if outcome == "log_probability":
        return rows["log_probability"].to_numpy()
    if outcome == "kl":
        return -rows["kl"].to_numpy()
    right, best_wrong = label_logs(rows)
    return right - best_wrong


def label_logs(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of the right label and of the most probable wrong one, float64 (rows,).

    rows: with LABEL_COLUMNS and `answer`, of which none is null.
    """
    logs = rows[LABEL_COLUMNS].to_numpy(float)
    is_right = np.array(LABELS) == rows["answer"].to_numpy(object)[:, None]
    return logs[is_right], np.where(is_right, -np.inf, logs).max(1)


def total_passes(rows: pd.DataFrame, design: str) -> float:
    """The cost of the rows of a design, and of those without an intervention, in plain passes."""
    return float(rows.loc[rows["design"].isin([design, "none"]), "passes"].sum())
