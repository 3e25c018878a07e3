"""The keys of a study in config.yaml: types, defaults and meanings."""

from typing import Annotated, Literal

from pydantic import Field, create_model, model_validator

from headimpact import registry
from headimpact.study.base import (
    Keys,
    PathText,
    Positive,
    Seed,
    Several,
    Share,
    Text,
    WithOptions,
    error_at,
)
from headimpact.table_kinds import SPLITS

PUBLISHED_MODELS = ("PaliGemma2", "Qwen2-VL", "SmolVLM")  # as resources/published has them

DEFAULT_SCORES = {
    "head_impact": {},
    "specific_head_impact": {},
    # objects are often read at their border, which a mask of half-covered tokens leaves out
    "head_impact_any_overlap": {"kind": "head_impact", "mask_share": 0},
    "head_impact_with_ring": {"kind": "head_impact", "rings": 1},
}
DEFAULT_SETUPS = {
    "original": {"layers": "none"},
    "top-4": {"layers": "top", "count": 4},
    "bottom-4": {"layers": "bottom", "count": 4},
    "random-4": {"layers": "random", "count": 4, "rule": "paper", "draws": 3},
    "full": {"layers": "all"},
}

Device = Literal["auto", "cpu", "cuda"]
# numpy and torch take seeds below 2**32, which the largest seed, offset and draw do not reach
SeedOffset = Annotated[int, Field(ge=0, le=2**30)]


class Look(Keys):
    """How hard drawn scenes are to read, see headimpact.dataset.scenes.Look."""

    texture: Share | None = None
    jitter: Annotated[int, Field(ge=0)] | None = None
    loose: Share | None = None
    noise: Annotated[float, Field(ge=0)] | None = None


class Scenes(Keys):
    kind: Literal["scenes"]
    images: Positive = Field(description="how many scenes to draw")
    seed: Seed = 0
    look: Look = Look()


class Coco(Keys):
    kind: Literal["coco"]
    root: PathText | None = Field(
        None,
        description="the folder that holds annotations/ and the images' folder; null "
        "downloads val2017",
    )
    subset: Annotated[str, Field(pattern=r"^[^/\\]+$")] = Field(
        "val2017",
        description="the images' folder and the annotation files' suffix, without a slash",
    )


class Captions(Keys):
    kind: Literal["captions"]
    root: PathText = Field(description="the images' folder")
    captions: PathText = Field(
        description="a CSV with the columns file and caption, a row a caption"
    )


class Annotator(WithOptions):
    name: str = Field(
        "instances",
        description="who finds the key objects: COCO's own masks, Florence-2's "
        "phrases and boxes with SAM2's masks, or the authors' published masks",
    )
    impact: str | None = Field(
        None, description="the annotator of the split impact, where it is another"
    )
    min_confidence: Share = Field(0.85, description="a mask below it is left out")
    shards: Several = Field(1, description="jobs that share the images")
    batch: Positive = Field(8, description="images at a time, where a model annotates")

    @model_validator(mode="after")
    def _check(self) -> "Annotator":
        for key in ("name", "impact"):
            value = getattr(self, key)
            if value is not None and value not in registry.ANNOTATORS:
                known = ", ".join(registry.ANNOTATORS)
                raise error_at(f"{key}: {value!r} is not one of {known}")
        self._resolve(*(registry.ANNOTATORS[name] for name in self.used))
        for name, types in self.checkpoints.items():
            unknown = set(self.options[name]) - {"checkpoint", "revision"}
            if unknown or not types or not isinstance(self.options[name].get("checkpoint"), str):
                raise error_at(
                    f"{name}: wants checkpoint, a folder or a hub id, and may have revision"
                )
        return self

    @property
    def used(self) -> list[str]:
        """The annotators of the study, that of the split impact first."""
        return list(dict.fromkeys([self.impact or self.name, self.name]))

    @property
    def checkpoints(self) -> dict[str, tuple[str, ...]]:
        """Options that name a checkpoint, with the model types that it may be of."""
        return {k: v for n in self.used for k, v in registry.ANNOTATORS[n].checkpoints.items()}

    @property
    def of_splits(self) -> dict[str, str]:
        """The annotator of each split."""
        return {split: (split == "impact" and self.impact) or self.name for split in SPLITS}


class Proportions(Keys):
    impact: Positive = 1000
    train: Positive = 1200
    validation: Positive = 300
    test: Positive = 500


class ObjectsPerImage(Keys):
    impact: Positive | None = None
    train: Positive | None = 1
    validation: Positive | None = 1
    test: Positive | None = 1


class Sampling(Keys):
    images: Positive = Field(3000, description="images of all splits together")
    spare: Annotated[float, Field(ge=0, le=100)] = Field(
        0.1, description="further images drawn, as a share, for those that drop out"
    )
    seed: Seed = 0
    proportions: Proportions = Field(Proportions(), description="how the images are shared out")
    objects_per_image: ObjectsPerImage = Field(
        ObjectsPerImage(), description="most key objects of an image in each split; null is all"
    )
    order: Literal["random", "area", "annotation"] = Field(
        "random", description="which objects of an image come first"
    )


class Attention(Keys):
    shards: Several = Field(1, description="jobs that share the images of the split impact")
    batch: Positive = Field(16, description="descriptions of one image at a time")


class Evaluation(Keys):
    batch: Positive = Field(16, description="objects at a time, each with its question")


class Nulls(Keys):
    """What the first score is held against, beside what follows from its own attention."""

    shifts: Positive = Field(8, description="moved copies of each object's mask")
    seed: Seed = Field(0, description="of the moved copies and of the untrained model")
    untrained: bool = Field(
        False,
        description="also the attention of a model with random weights; takes a further pass",
    )


class Model(Keys):
    title: Text = Field(description="the model's name in tables and figures")
    checkpoint: PathText = Field(description="a folder or a hub id")
    revision: Annotated[str, Field(pattern=r"^[^/@\s]+$")] | None = Field(
        None,
        description="a commit, tag or branch of a hub checkpoint without / or @; null is its "
        "main branch",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto is bfloat16 on a GPU and float32 on a CPU"
    )
    configuration: PathText | None = Field(
        None,
        description="a folder whose config.json tables 1 and 5 count, instead of the checkpoint's",
    )
    published: Literal[PUBLISHED_MODELS] | None = Field(
        None,
        description="the model's name in resources/published, for comparison.csv and layers: "
        "published",
    )
    known_answer: PathText | None = Field(
        None,
        description="a JSON file with `reading_heads`, a list of [layer, head]: the heads that are "
        "known to carry what the image says, to which known_answer.csv compares the scores",
    )


class Training(Keys):
    epochs: Positive = 3
    batch_size: Positive = 8
    by_length: bool = Field(
        True,
        description="a batch holds descriptions of similar length, so that little is "
        "padding; false draws every batch from all",
    )
    learning_rate: Annotated[float, Field(gt=0)] = 0.0001
    warmup: Share = Field(0.1, description="share of the steps in which the rate rises")
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    seed: Seed = Field(0, description="of draw 0; draw n has the seed + n")


TrainingChanges = create_model(
    "TrainingChanges",
    __base__=Keys,
    __doc__="Training values that differ from the study's.",
    **{
        name: (
            Annotated[(info.annotation, *info.metadata)] | None
            if info.metadata
            else info.annotation | None,
            None,
        )
        for name, info in Training.model_fields.items()
    },
)


class Setup(WithOptions):
    layers: str | list[Annotated[int, Field(ge=0)]] = Field(
        description="how the trained layers are chosen, or a list of them"
    )
    by: str | None = Field(
        None, description="the score that ranks the layers; null is the study's first"
    )
    method: str | None = Field(
        None, description="how the layers are tuned; null is the study's first method"
    )
    draws: Several = Field(
        1, description="runs that differ in their seed, and in their layers where these are drawn"
    )
    training: TrainingChanges = TrainingChanges()

    @model_validator(mode="after")
    def _check(self) -> "Setup":
        if self.choice not in registry.LAYER_CHOICES:
            known = ", ".join(registry.LAYER_CHOICES)
            raise error_at(f"layers: {self.layers!r} is not one of {known}")
        if isinstance(self.layers, list):
            self.model_extra["layers"] = self.layers
        self._resolve(registry.LAYER_CHOICES[self.choice])
        return self

    @property
    def choice(self) -> str:
        """The entry of the registry that chooses the layers."""
        return "list" if isinstance(self.layers, list) else self.layers

    @property
    def entry(self) -> registry.LayerChoiceEntry:
        """That entry, as it is for the setup's options."""
        return registry.LAYER_CHOICES[self.choice].with_options(self.options)


class Questions(Keys):
    wrong_options: Literal["random", "near"] = Field(
        "random",
        description="random draws from all descriptions of things that are not in the image, as "
        "in the paper; near takes those that share most words with the right one",
    )
    seed: Seed = Field(0, description="of the wrong options and of the right one's place")


class Shortcuts(Keys):
    """What is computed once because it changes no result; false computes it every time."""

    one_pass: bool = Field(
        True,
        description="the continuations of an image, and images of similar lengths, share one "
        "pass of the model; false takes a pass for each continuation",
    )
    kept_features: bool = Field(
        True, description="the vision tower's output is kept on disk for all setups of a model"
    )
    frozen_layers: bool = Field(
        True,
        description="decoder layers below the lowest trained one run once a training; their "
        "output is held in memory",
    )
    few_logits: bool = Field(
        True, description="training computes logits only where a description's token comes next"
    )
