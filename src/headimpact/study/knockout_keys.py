"""The key `knockout` of a study, and what its scores want of it."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from headimpact import knockout_names
from headimpact.study.base import Component, Keys, Positive, Seed, Several, error_at, list_of


def _explain(meanings: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {meaning}" for name, meaning in meanings.items())


class Knockout(Keys):
    """What a model says once a window of layers reads part of the image no longer."""

    width: Positive = Field(
        3, description="layers of a window; the literature has 9 for decoders of 32 to 40 layers"
    )
    items: Positive = Field(
        30, description="at most this many objects of the split impact, one an image"
    )
    rows: list_of(*knockout_names.ROWS) = Field(
        ["description", "prompt", "last"],
        description=f"which tokens of the text lose reads. {_explain(knockout_names.ROWS)}",
    )
    sources: list_of(*knockout_names.SOURCES) = Field(
        list(knockout_names.SOURCES),
        description=f"what they no longer read. {_explain(knockout_names.SOURCES)}",
    )
    outcomes: list_of(*knockout_names.MEASURES) = Field(
        list(knockout_names.MEASURES),
        description="what the model is asked: the description of the object, and the question "
        f"with four options, for the rows {' and '.join(knockout_names.QUESTION_ROWS)}",
    )
    variant: Literal["renormalise", "mean"] = Field(
        "renormalise",
        description="renormalise hides the tokens before the softmax, mean puts the mean value of "
        "the image's tokens in their place",
    )
    seed: Seed = Field(0, description="of the items, the random tokens and the other objects")
    shards: Several = Field(1, description="jobs that share the items")
    batch: Positive = Field(96, description="knockouts at a time, which share a pass")

    @model_validator(mode="after")
    def _check(self) -> "Knockout":
        if self.outcomes == ["question"] and not set(self.rows) & set(knockout_names.QUESTION_ROWS):
            raise error_at(
                f"rows: the question is for {' and '.join(knockout_names.QUESTION_ROWS)}; add one, "
                f"or add description to outcomes"
            )
        return self


def check_scores(scores: Mapping[str, Component], knockout: Knockout) -> None:
    """Raise an error if a score wants a knockout that the key does not list."""
    for name, score in scores.items():
        if score.kind != "knockout":
            continue
        options = score.options
        for option, key in (("outcome", "outcomes"), ("rows", "rows"), ("source", "sources")):
            value = options[option]
            if value not in getattr(knockout, key):
                raise error_at(
                    f"scores.{name}.{option}: {value} is not measured; add it to knockout.{key}"
                )
        if options["outcome"] == "question" and options["rows"] not in knockout_names.QUESTION_ROWS:
            raise error_at(
                f"scores.{name}.rows: {options['rows']} cannot change the answer to a question; "
                f"choose {' or '.join(knockout_names.QUESTION_ROWS)}"
            )
