"""Head attribution: linear coefficients of what each head's image reads contribute.

As in head attribution for vision-language models (arXiv 2509.17588) and in component attribution
(arXiv 2404.11534): image reads are taken away from random sets of heads, and what the model then
says is regressed on which heads kept theirs.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from headimpact.guards import UserError
from headimpact.scores.head_impact import images_of
from headimpact.scores.inputs import ScoreInputs, Scores
from headimpact.scores.interventions import outcome_values, read_heads, total_passes
from headimpact.statistics import cluster_sums, in_second_half

DRAWS = 200  # of images, with replacement


def attribution(inputs: ScoreInputs, outcome: str) -> Scores:
    """The coefficient of each head, with its standard error; 0 by chance.

    outcome: see `outcome_values`. A coefficient is the mean change of the outcome, in nats, if
    the head keeps its image reads; n is the number of items. The error is the standard deviation
    of the coefficients of images drawn with replacement. Raises UserError if there are fewer rows
    than coefficients.
    """
    regression = Regression.of_rows(inputs.interventions, inputs.objects, outcome, "random")
    rng = np.random.default_rng(0)
    drawn = [regression.coefficients(counts) for counts in regression.draw_images(rng, DRAWS)]
    shape = regression.shape
    resampled = np.reshape(drawn, (DRAWS, *shape))
    return Scores(
        value=regression.coefficients().reshape(shape),
        standard_error=resampled.std(0, ddof=1),
        n=regression.items,
        null=np.zeros(shape),
        halves=regression.half_coefficients(),
        resampled=resampled,
        cost=total_passes(inputs.interventions, "random"),
    )


@dataclass(frozen=True)
class Regression:
    """Least squares of an outcome on the heads that keep their reads, and an intercept an item.

    Both are centred within each item, which is the same as an intercept for each.

    kept: float64 (rows, heads), centred. values: float64 (rows,), centred. images: (rows,), the
    image of each row. items: how many there are. shape: (layers, heads) of the decoder.
    """

    kept: np.ndarray
    values: np.ndarray
    images: np.ndarray
    items: int
    shape: tuple[int, int]

    @classmethod
    def of_rows(
        cls, rows: pd.DataFrame, objects: pd.DataFrame, outcome: str, design: str
    ) -> "Regression":
        """The regression of a table of kind "interventions", of the rows of one design."""
        rows = rows[rows["design"] == design]
        heads = read_heads(rows)
        kept = ~heads.reshape(len(rows), -1)
        ids, item = np.unique(rows["object_id"], return_inverse=True)

        def centre(values):
            counts = np.bincount(item).reshape(-1, *[1] * (values.ndim - 1))
            return values - (cluster_sums(values, item) / counts)[item]

        images = images_of(rows["object_id"].to_numpy(), objects)
        values = centre(outcome_values(rows, outcome))
        return cls(centre(kept.astype(float)), values, images, len(ids), heads.shape[1:])

    def coefficients(self, counts: np.ndarray | None = None) -> np.ndarray:
        """float64 (heads,), with each image counted as often as `counts` (images,) says.

        The images are in the order of their names; None counts each once. Raises UserError if
        there are fewer rows than coefficients.
        """
        free = len(self.kept) - self.items
        if free < self.kept.shape[1]:
            raise UserError(
                f"interventions: {len(self.kept)} sets of heads in {self.items} images cannot "
                f"determine {self.kept.shape[1]} coefficients; raise interventions.items or masks"
            )
        if counts is None:
            return np.linalg.lstsq(self.kept, self.values)[0]
        weights = np.sqrt(counts[np.unique(self.images, return_inverse=True)[1]])
        return np.linalg.lstsq(self.kept * weights[:, None], self.values * weights)[0]

    def half_coefficients(self) -> np.ndarray | None:
        """The coefficients of either half of the images, (2, layers, heads).

        None if the rows of a half do not determine them.
        """
        names, index = np.unique(self.images, return_inverse=True)
        second = in_second_half(names)
        halves = []
        for half in (~second, second):
            if np.linalg.matrix_rank(self.kept[half[index]]) < self.kept.shape[1]:
                return None
            halves.append(self.coefficients(half.astype(int)).reshape(self.shape))
        return np.stack(halves)

    def draw_images(self, rng: np.random.Generator, draws: int) -> np.ndarray:
        """How often each image is drawn, int (draws, images), in draws with replacement."""
        images = len(np.unique(self.images))
        return rng.multinomial(images, np.full(images, 1 / images), size=draws)
