"""A study: its keys together, what rules ask of it, and checks between its keys."""

from typing import Annotated

from pydantic import Field, model_validator

from headimpact import registry
from headimpact.study import keys, knockout_keys
from headimpact.study.base import Component, Keys, Name, Seed, Text, components, error_at
from headimpact.study.faithfulness_keys import Faithfulness
from headimpact.study.intervention_keys import Interventions
from headimpact.study.run import Run

PUBLISHED_SETUPS = ("top-4", "bottom-4", "random-4")  # of the paper's Table 3
PUBLISHED_COUNT = 4  # layers of each of them


class Study(Keys):
    """One entry of `studies`."""

    title: Text = Field(description="what the study is called under its tables")
    device: keys.Device = Field(
        "auto", description="where models run; auto takes a GPU if there is one"
    )
    seed_offset: keys.SeedOffset = Field(
        0,
        description="added to every seed of the study, for a repetition with other scenes, splits, "
        "questions, layers and trainings; choose offsets that differ by more than a setup has "
        "draws, because draw n of a training adds n to the seed",
    )
    dataset: Annotated[keys.Scenes | keys.Coco | keys.Captions, Field(discriminator="kind")]
    annotator: keys.Annotator = keys.Annotator()
    sampling: keys.Sampling = keys.Sampling()
    attention: keys.Attention = keys.Attention()
    scores: components(registry.SCORES) = Field(
        keys.DEFAULT_SCORES,
        description="head scores, {model}/scores/NAME.parquet and figure_NAME.svg each, and rows "
        "of Table 2; the first is the one of figures 4 and 5, with its nulls",
        validate_default=True,
    )
    nulls: keys.Nulls = keys.Nulls()
    interventions: Interventions = Interventions()
    knockout: knockout_keys.Knockout = knockout_keys.Knockout()
    faithfulness: Faithfulness = Faithfulness()
    models: Annotated[dict[Name, keys.Model], Field(min_length=1)]
    setups: Annotated[dict[Name, keys.Setup], Field(min_length=1)] = Field(
        keys.DEFAULT_SETUPS,
        description="fine-tuning setups, a column of Table 4 each",
        validate_default=True,
    )
    layer_seed: Seed = Field(0, description="of the random draws of layers")
    methods: components(registry.METHODS) = Field(
        {"lora": {}}, description="how chosen layers are tuned", validate_default=True
    )
    training: keys.Training = Field(
        keys.Training(), description="the paper names none of these; a setup or variant may differ"
    )
    variants: dict[Name, keys.TrainingChanges] = Field(
        {},
        description="named sets of training values that differ from the setup's, each tried with "
        "every setup that trains; `default` differs in nothing and is always there",
    )
    questions: keys.Questions = keys.Questions()
    evaluation: keys.Evaluation = keys.Evaluation()
    metrics: components(registry.METRICS) = Field(
        {"accuracy": {}, "answer_probability": {}, "perplexity": {}, "log_odds": {}},
        description="what Table 4 shows, a row each",
        validate_default=True,
    )
    shortcuts: keys.Shortcuts = Field(
        keys.Shortcuts(),
        description="what is computed once because it changes no result; false computes it every "
        "time",
    )

    # ------------------------------------------------------------------ what rules ask

    def runs(self) -> list[Run]:
        """All runs, setup by setup; a setup that trains nothing has one."""
        return [
            Run(name, variant, draw)
            for name, setup in self.setups.items()
            for variant in (["default"] if setup.layers == "none" else self.variant_names)
            for draw in range(setup.draws)
        ]

    @property
    def variant_names(self) -> list[str]:
        """The variants, `default` first."""
        return list(dict.fromkeys(["default", *self.variants]))

    @property
    def figures(self) -> list[int]:
        """The numbers of its figures; 6 needs runs to compare with `original`, in perplexity.

        8 is that of knockouts, which only a study with their score makes unasked.
        """
        kinds = [metric.kind for metric in self.metrics.values()]
        has_runs = "original" in self.setups and len(self.setups) > 1
        has_changes = has_runs and "perplexity" in kinds and len(kinds) > 1
        has_knockout = "knockout" in [score.kind for score in self.scores.values()]
        return [2, 4, 5] + [6] * has_changes + [8] * has_knockout

    @property
    def first_score(self) -> str:
        """The score of figures 4 and 5."""
        return next(iter(self.scores))

    @property
    def first_options(self) -> dict:
        """The options of that score."""
        return self.scores[self.first_score].options

    @property
    def head_scores(self) -> list[str]:
        """The scores that have a number a head, the first one first."""
        entries = {name: registry.SCORES[score.kind] for name, score in self.scores.items()}
        return [name for name, entry in entries.items() if entry.per == "head"]

    @property
    def titles(self) -> list[str]:
        """The models' names in tables."""
        return [model.title for model in self.models.values()]

    def score_title(self, score: str) -> str:
        """The name of a score in tables and figures."""
        kind = self.scores[score].kind
        return (score == kind and registry.SCORES[kind].title) or score.replace("_", " ")

    @property
    def mask_share(self) -> float:
        """The coverage from which a token counts as an object's in Figure 2 and in Table 2."""
        default = registry.SCORES["head_impact"].options["mask_share"].default
        return self.first_options.get("mask_share", default)

    @property
    def first_model(self) -> keys.Model:
        """The model of Figure 2."""
        return next(iter(self.models.values()))

    @property
    def top_setups(self) -> dict[str, str]:
        """{setup: the score that ranks its layers} of the setups that take top layers."""
        return {n: self.score_of(n) for n, setup in self.setups.items() if setup.layers == "top"}

    @property
    def top_setup(self) -> str | None:
        """The first setup that takes top layers, or else has the paper's; None if none does."""
        published = self.setups.get("top-4")
        named = ["top-4"] if published and published.layers == "published" else []
        return next(iter([*self.top_setups, *named]), None)

    @property
    def top_score(self) -> str | None:
        """The score that ranks the layers of that setup; None if none does."""
        return None if self.top_setup is None else self.score_of(self.top_setup)

    @property
    def counted_setup(self) -> str:
        """The setup whose adapter Table 5 counts: the first that takes top layers."""
        trained = [name for name, setup in self.setups.items() if setup.layers != "none"]
        return self.top_setup or next(iter([*trained, *self.setups]))

    @property
    def compared_setups(self) -> list[str]:
        """The setups whose shifts are compared with every other's: those of top layers, if any."""
        names = list(self.top_setups) or [self.counted_setup]
        return [name for name in names if self.setups[name].layers != "none"]

    @property
    def counted_layers(self) -> int | None:
        """How many layers that adapter trains; None for all."""
        setup = self.setups[self.counted_setup]
        if setup.choice == "published":
            return PUBLISHED_COUNT
        return len(setup.layers) if setup.choice == "list" else setup.options.get("count")

    def score_of(self, setup: str) -> str | None:
        """The score that ranks the layers of a setup; None if none does."""
        entry = self.setups[setup].entry
        return (self.setups[setup].by or self.first_score) if "score" in entry.needs else None

    def method_of(self, setup: str) -> Component:
        """How the chosen layers of a setup are tuned."""
        return self.methods[self.setups[setup].method or next(iter(self.methods))]

    def training_of(self, setup: str, variant: str) -> dict:
        """How a setup is trained in a variant: the variant's values, the setup's, the study's."""
        changes = [self.setups[setup].training, self.variants.get(variant, keys.TrainingChanges())]
        values = self.training.model_dump()
        for change in changes:
            values |= change.model_dump(exclude_none=True)
        return values

    @property
    def annotation_kinds(self) -> list[str]:
        """The annotation files of COCO's layout that the study cannot do without."""
        needing = self.annotators_that_need("instances")
        return ["captions"] * (needing != self.annotator.used) + ["instances"] * bool(needing)

    @property
    def downloads_coco(self) -> bool:
        """Whether COCO val2017 is downloaded for it."""
        return self.dataset.kind == "coco" and self.dataset.root is None

    def annotators_that_need(self, need: str) -> list[str]:
        """The study's annotators whose registry entry has that need."""
        return [name for name in self.annotator.used if need in registry.ANNOTATORS[name].needs]

    # ------------------------------------------------------------------ checks between keys

    @model_validator(mode="after")
    def _check(self) -> "Study":
        self._check_dataset()
        titles = {}
        for name, model in self.models.items():
            other = titles.setdefault(model.title, name)
            if other != name:
                raise error_at(
                    f"models.{name}.title: {model.title} is also the title of {other}; tables "
                    f"distinguish models by it, give it another"
                )
        if registry.SCORES[self.scores[self.first_score].kind].per != "head":
            raise error_at(
                f"scores.{self.first_score}: has a number a layer; Table 2 and figures 4 and 5 "
                f"show the first score and want a number a head, list another one first"
            )
        self.interventions.check(self.scores)
        knockout_keys.check_scores(self.scores, self.knockout)
        for name, setup in self.setups.items():
            self._check_setup(name, setup)
        if "default" in self.variants:
            raise error_at("variants.default: is the study's own training; give it another name")
        return self

    def _check_dataset(self) -> None:
        if self.dataset.kind == "scenes" and self.sampling.images > self.dataset.images:
            raise error_at(
                f"sampling.images: asks for {self.sampling.images} of {self.dataset.images} "
                f"scenes; lower it or raise dataset.images"
            )
        if self.downloads_coco and self.dataset.subset != "val2017":
            raise error_at(
                f"dataset.root: missing; only val2017 is downloaded, name the folder that holds "
                f"{self.dataset.subset}"
            )
        if self.dataset.kind == "captions":
            bound = [*self.annotators_that_need("instances"), *self.annotators_that_need("release")]
            if bound:
                raise error_at(
                    f"annotator.name: {bound[0]} has masks of COCO's own images, none of those of "
                    f"a CSV; choose florence2_sam2"
                )

    def _check_setup(self, name: str, setup: keys.Setup) -> None:
        where = f"setups.{name}"
        if (setup.layers == "none") != (name == "original"):
            raise error_at(
                f"{where}: original is the setup that trains no layer (layers: none), and no "
                f"other is; rename it"
            )
        for key, table in (("by", self.scores), ("method", self.methods)):
            value = getattr(setup, key)
            if value is not None and value not in table:
                raise error_at(f"{where}.{key}: {value!r} is not one of {', '.join(table)}")
        if "to" in setup.options:
            self._check_target(where, setup.options["to"])
        if setup.layers != "published":
            return
        if name not in PUBLISHED_SETUPS:
            raise error_at(
                f"{where}: the paper has no layers for it; rename it to one of "
                f"{', '.join(PUBLISHED_SETUPS)} or choose its layers otherwise"
            )
        for model, entry in self.models.items():
            if entry.published is None:
                raise error_at(
                    f"models.{model}.published: missing; say which model of the paper's Table 3 it "
                    f"is, or choose the layers of {name} otherwise"
                )

    def _check_target(self, where: str, target: str) -> None:
        """Raise an error unless `target` is a setup with one fixed set of some layers."""
        fixed = [
            name
            for name, setup in self.setups.items()
            if setup.layers not in ("none", "all", []) and "seed" not in setup.entry.needs
        ]
        if target not in fixed:
            known = f"name one of {', '.join(fixed)}" if fixed else "add one"
            raise error_at(
                f"{where}.to: {target!r} is no setup whose layers are some of the decoder's and "
                f"not drawn; {known}"
            )
