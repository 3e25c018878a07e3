"""The key `faithfulness` of a study."""

from typing import Annotated

from pydantic import AfterValidator, Field

from headimpact.study.base import Keys, Positive, Seed, Several, list_of


def _check_counts(counts: list[int | float]) -> list[int | float]:
    for count in counts:
        if count < 1 if isinstance(count, int) else not 0 < count < 1:
            raise ValueError(f"{count} is neither a whole number from 1 nor between 0 and 1")
    return counts


class Faithfulness(Keys):
    """Curves of how much the first heads by each score carry; made if you ask for figure7."""

    head_counts: Annotated[
        list[int | float], Field(min_length=1), AfterValidator(_check_counts)
    ] = Field(
        [1, 2, 4, 8, 0.25, 0.375, 0.5, 0.75],
        description="how many of the first heads keep, or lose, their image reads: whole numbers "
        "from 1 are heads, numbers between 0 and 1 a share of all heads; 1, and all heads, are "
        "always measured",
    )
    random_orders: Positive = Field(10, description="orders of the heads drawn at random")
    variants: list_of("renormalise", "zero", "mean") = Field(
        ["renormalise", "mean"],
        description="how reads are taken away, as for `interventions.variant`; a score that was "
        "fitted to one of them has an advantage there",
    )
    outcomes: list_of("description", "question") = Field(
        ["description", "question"],
        description="what the model is asked: the log-probability of the description; the margin "
        "of the right option over the best wrong one",
    )
    items: Positive = Field(
        100,
        description="at most this many objects of the split test, one an image. Each is asked "
        "under all sets of heads of the curves: 16 for each score, each random order and the "
        "depth, about 240 for four scores of heads. On the miniatures that costs 90 to 150 plain "
        "passes an image and variant, six to eight minutes of one core for 100 images",
    )
    in_table6: bool = Field(
        False, description="whether Table 6 has the areas under the curves, and so waits for them"
    )
    batch: Positive = Field(64, description="sets of heads at a time, which share a pass")
    shards: Several = Field(1, description="jobs that share the images")
    seed: Seed = Field(0, description="of the objects and of the random orders")
