"""Metrics: numbers an item of what a model said, and their mean with its error.

Each is a Metric with an entry in the registry. None runs a model: `items` is a table of kind
"answers" joined with "questions".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from headimpact import registry
from headimpact.guards import UserError
from headimpact.statistics import clustered_error, perplexity
from headimpact.table_kinds import LABEL_COLUMNS, LABELS


def mean(values: np.ndarray, clusters: np.ndarray) -> tuple[float, float]:
    """The mean over items and its standard error clustered by `clusters` (items,)."""
    return float(np.mean(values)), float(clustered_error(values, clusters))


@dataclass(frozen=True)
class Metric:
    """values: items (DataFrame), **options -> float (items,). aggregate: those values and their
    images -> the metric and its standard error. bounds: the values that it can take.
    is_logarithmic: whether the values of items are logarithms of the metric. unit: of the values
    of items, in which shifts are given.
    """

    title: str
    values: Callable[..., np.ndarray]
    aggregate: Callable[[np.ndarray, np.ndarray], tuple[float, float]] = mean
    higher_is_better: bool = True
    bounds: tuple[float, float] = (0.0, 1.0)
    is_logarithmic: bool = False
    unit: str = ""

    @property
    def heading(self) -> str:
        """The title with an arrow that points to the better values."""
        return f"{self.title} {'↑' if self.higher_is_better else '↓'}"

    @property
    def shift_heading(self) -> str:
        """What the values of items are, with their unit: shifts are differences of these."""
        name = f"log {self.title.lower()}" if self.is_logarithmic else self.title
        return f"{name} ({self.unit})" if self.unit else name

    def of_items(self, items: pd.DataFrame) -> np.ndarray:
        """The value of each item, float64 (items,); raises UserError for any other shape."""
        values = np.asarray(self.values(items), dtype=float)
        if values.shape != (len(items),):
            raise UserError(f"metric {self.title}: {values.shape} values for {len(items)} items")
        return values


def load_metrics(settings: Mapping[str, dict]) -> dict[str, Metric]:
    """The metrics of a study; settings: {name: {"kind", "options"}} as config.yaml has them."""
    metrics = {}
    for name, setting in settings.items():
        metric = registry.METRICS[setting["kind"]].load()
        metrics[name] = replace(metric, values=partial(metric.values, **setting["options"]))
    return metrics


def label_probabilities(items: pd.DataFrame) -> np.ndarray:
    """Probability of each label over the whole vocabulary, float64 (items, labels)."""
    return np.exp(_label_logs(items))


def most_probable_labels(items: pd.DataFrame) -> np.ndarray:
    """The index of each item's most probable label, int (items,)."""
    return _label_logs(items).argmax(1)


def _label_logs(items: pd.DataFrame) -> np.ndarray:
    return items[LABEL_COLUMNS].to_numpy()


def right_labels(items: pd.DataFrame) -> np.ndarray:
    """The index of each item's right label, int (items,)."""
    return items["answer"].map(LABELS.index).to_numpy()


def accuracy(items: pd.DataFrame) -> np.ndarray:
    """1 where the right label is the most probable of the four, else 0; chance is 0.25."""
    return (most_probable_labels(items) == right_labels(items)).astype(float)


def answer_probability(items: pd.DataFrame, share_of: str) -> np.ndarray:
    """Probability of the right label: over the four "labels" or over the "vocabulary"."""
    probabilities = label_probabilities(items)
    right = probabilities[np.arange(len(items)), right_labels(items)]
    return right / probabilities.sum(1) if share_of == "labels" else right


def token_losses(items: pd.DataFrame) -> np.ndarray:
    """Mean negative log-likelihood of the description's tokens, nats; see equation (3)."""
    return (-items["log_probability"] / items["tokens"]).to_numpy()


def log_odds(items: pd.DataFrame) -> np.ndarray:
    """Logarithm of the right label's probability over the sum of the three others', nats."""
    logs, right = _label_logs(items), right_labels(items)
    is_right = np.arange(len(LABELS)) == right[:, None]
    others = np.logaddexp.reduce(np.where(is_right, -np.inf, logs), axis=1)
    return logs[np.arange(len(items)), right] - others


ACCURACY = Metric("Accuracy", accuracy, unit="share")
ANSWER_PROBABILITY = Metric("AnsProb", answer_probability, unit="probability")
PERPLEXITY = Metric(
    "Perplexity",
    token_losses,
    perplexity,
    higher_is_better=False,
    bounds=(1.0, np.inf),
    is_logarithmic=True,
    unit="nats a token",
)
LOG_ODDS = Metric("Log-odds", log_odds, bounds=(-np.inf, np.inf), unit="nats")
