"""Trains the miniature checkpoints: a dense vision stage, then lessons of growing difficulty."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm
from transformers import set_seed

from headimpact.dataset.scenes import COLOURS, RADII, SHAPES, SIZES, Look, draw
from headimpact.miniature.checkpoints import MAKERS, save, scale_residuals
from headimpact.miniature.lessons import Mix, Teacher
from headimpact.miniature.measure import read_scenes
from headimpact.miniature.packing import Packer
from headimpact.models.family import TokenGrid
from headimpact.models.load import load_family, load_model
from headimpact.scores.coverage import coverage

CLASSES = ([*SHAPES, "photo"], [*COLOURS, "photo"], [*RADII, "photo"])  # the last: background


@dataclass(frozen=True)
class Stage:
    """One part of the training.

    single: share of steps with one lesson a scene, as the model is used, for a family whose
        image sees the prompt; with a share of 1 only such a family has the stage.
    """

    name: str
    steps: int
    batch: int
    look: Look
    mix: Mix = field(default_factory=Mix)
    rate: float = 1.5e-3
    cosine: bool = False
    single: float = 0.0


EASY, HARD = Look(texture=0.25, jitter=1, loose=0.0), Look(texture=0.8, jitter=2, loose=0.15)
STAGES = (
    Stage("vision-plain", 300, 24, Look(0.0, 1, 0.0), rate=2e-3),
    Stage("vision", 350, 24, Look(0.5, 2, 0.1), rate=2e-3, cosine=True),
    Stage("describe", 450, 20, EASY, Mix(descriptions=3, ask=3, is_there=3)),
    Stage(
        "compare",
        400,
        16,
        Look(0.5, 1, 0.05),
        Mix(descriptions=1, ask=2, is_there=1, is_there_full=3, choose_in_words=2),
        single=0.2,
    ),
    Stage(
        "choose",
        650,
        14,
        HARD,
        Mix(descriptions=1, ask=1, is_there_full=2, choose_in_words=1, choose=3),
        cosine=True,
        single=0.35,
    ),
    Stage("alone", 300, 16, HARD, Mix(descriptions=3, choose=1), 1e-3, cosine=True, single=1.0),
)

# how many times as many steps a miniature takes in a stage
MORE_STEPS = {
    # its vision tower sees few, large patches: a step is cheap and teaches little
    ("paligemma2", "vision-plain"): 6,
    ("paligemma2", "vision"): 6,
    # one learns to choose later than the others, one so early that it would reach the ceiling
    ("idefics3", "choose"): 1.5,
    ("qwen2_vl", "choose"): 0.6,
    # its image sees the prompt, so descriptions wait for the lessons of one question a scene
    ("paligemma2", "alone"): 2,
}


class VisionHead(torch.nn.Module):
    """Classifies a visual token's shape, colour and size by the (tied) word embeddings."""

    def __init__(self, model, family):
        super().__init__()
        words = [family.tokenizer.convert_tokens_to_ids(list(names)) for names in CLASSES]
        self.sizes = [len(names) for names in CLASSES]
        self.words = torch.tensor([word for names in words for word in names])
        self.bias = torch.nn.Parameter(torch.zeros(len(self.words)))
        self.embedding = [model.get_input_embeddings()]  # in a list: not a submodule

    def forward(self, features):
        """features: (tokens, hidden). Returns three tensors of logits (tokens, classes)."""
        normed = torch.nn.functional.layer_norm(features, features.shape[-1:])
        return (normed @ self.embedding[0].weight[self.words].T + self.bias).split(self.sizes, -1)


def vision_targets(grid: TokenGrid, objects: list) -> torch.Tensor:
    """Class of the shape, colour and size under each image token, LongTensor (3, tokens)."""
    covered = np.stack([coverage(item.mask, grid.rectangles) for item in objects])
    object_of, has_object = covered.argmax(0), covered.max(0) > 0.12
    names = [(item.shape, item.colour, item.size) for item in objects]
    targets = []
    for q, classes in enumerate(CLASSES):
        classes = list(classes)
        index = np.array([classes.index(name[q]) for name in names])
        targets.append(np.where(has_object, index[object_of], len(classes) - 1))
    return torch.from_numpy(np.stack(targets))


def vision_loss(logits: list[torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy summed over shape, colour and size; background counts a fifth."""
    total = 0
    for scores, target in zip(logits, targets, strict=True):
        weight = torch.ones(scores.shape[-1])
        weight[-1] = 0.2
        total = total + torch.nn.functional.cross_entropy(scores, target, weight=weight)
    return total


class Trainer:
    """One miniature in training."""

    def __init__(self, model, family):
        self.model, self.family = model, family
        self.teacher = Teacher(family)
        self.packer = Packer(family, self.teacher)
        self.head = VisionHead(model, family)
        weight = torch.ones(len(family.tokenizer))
        easy = [*family.tokenizer.all_special_tokens, "a", "."]
        weight[family.tokenizer.convert_tokens_to_ids(easy)] = 0.2
        weight[family.tokenizer.convert_tokens_to_ids(list("ABCD"))] = 2.0
        self.weight = weight

    def draw(self, rng, count, look):
        """`count` scenes of one random size, that size's TokenGrid, and the images as PIL."""
        size = SIZES[rng.integers(len(SIZES))]
        scenes = [draw(rng, *size, look) for _ in range(count)]
        return scenes, self.family.grid(*size), [Image.fromarray(s.pixels) for s in scenes]

    def features(self, images):
        """Like Family.features, with gradients: a tensor (image tokens, hidden) an image."""
        output = self.model.get_image_features(**self.family.pixels(images)).pooler_output
        return [image.reshape(-1, image.shape[-1]) for image in output]

    def targets(self, grid, scenes):
        """`vision_targets` of several scenes of one size, LongTensor (3, scenes * tokens)."""
        return torch.cat([vision_targets(grid, scene.objects) for scene in scenes], 1)

    def logits(self, features, scenes):
        """Logits, (scenes, length, vocabulary), and the labels of the tokens that follow.

        scenes: list of (grid, lessons).
        """
        inputs, labels = self.packer.pack(scenes)
        outputs = self.family.encoder_outputs(features)
        logits = self.model(**inputs, mm_encoder_outputs=outputs, use_cache=False).logits
        return logits[:, :-1], labels[:, 1:]

    def loss(self, rng, stage):
        """The loss of one step."""
        single = self.family.attention_pattern == "prefix" and rng.random() < stage.single
        scenes, grid, images = self.draw(rng, stage.batch * (2 if single else 1), stage.look)
        features = self.features(images)
        dense = vision_loss(self.head(torch.cat(features)), self.targets(grid, scenes))
        if stage.mix == Mix():
            return dense
        lessons_of_scenes = []
        for scene in scenes:
            lessons = self.teacher.lessons(rng, grid, scene.objects, stage.mix)
            if single:
                lessons = [lessons[0 if rng.random() < 0.4 else -1]]
            lessons_of_scenes.append((grid, lessons))
        logits, labels = self.logits(features, lessons_of_scenes)
        language = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), weight=self.weight
        )
        return language + 0.05 * dense

    def run(self, stage, seed, report=None):
        """Train through one stage."""
        rng = np.random.default_rng(seed)
        self.model.train()
        frozen = ("language_model.layers", "text_model.layers") if stage.mix == Mix() else ()
        parameters = [
            p for n, p in self.model.named_parameters() if not any(path in n for path in frozen)
        ] + list(self.head.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.05},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=stage.rate, betas=(0.9, 0.98))
        bar = tqdm(
            range(stage.steps), desc=f"{self.family.model_type} {stage.name}", mininterval=10
        )
        for step in bar:
            if report and step % 150 == 0:
                bar.write(f"{stage.name} {step} {report(self)}")
            # half a cosine over the second half of the stage
            progress = max(0, 2 * (step / stage.steps) - 1)
            decay = 0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * progress))
            for group in optimizer.param_groups:
                group["lr"] = stage.rate * min(1, (step + 1) / 50) * (decay if stage.cosine else 1)
            loss = self.loss(rng, stage)
            if not torch.isfinite(loss):
                raise RuntimeError(f"{stage.name}, step {step}: the loss is {loss.item()}")
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)

    def measure(self, look: Look, scenes: int = 60, seed: int = 77) -> dict[str, float]:
        """Means over new scenes of what `read_scenes` measures."""
        return read_scenes(self, look, scenes, seed).mean().round(3).to_dict()


def train(name: str, work: str | Path, seed: int = 0, stages: tuple[Stage, ...] = STAGES) -> Path:
    """Train the miniature `name` through all stages; a stage that is finished in `work` is reused.

    Returns the folder of the last stage's checkpoint.
    """
    work = Path(work)
    set_seed(seed)
    model, family = MAKERS[name]()
    scale_residuals(model, family)
    folder = None
    for number, stage in enumerate(stages):
        more = MORE_STEPS.get((name, stage.name), 1)
        stage = replace(stage, steps=round(stage.steps * more))
        if stage.single == 1 and family.attention_pattern != "prefix":
            continue
        folder = work / name / stage.name
        if not (folder / "done").exists():
            trainer = Trainer(model, family)
            look = HARD if stage.mix != Mix() else stage.look
            trainer.run(stage, (seed, number), lambda t, look=look: t.measure(look))
            tqdm.write(f"{name} {stage.name} end {trainer.measure(look, scenes=180, seed=78)}")
            save(folder, model, family)
            (folder / "done").touch()
        model, family = load_model(folder), load_family(folder)
    return folder
