"""Draws the images of a study, filters their objects, and divides the images into splits."""

import math

import numpy as np
import pandas as pd
from pandas.api.typing import SeriesGroupBy

from headimpact.artifacts import columns
from headimpact.dataset.masks import decode
from headimpact.guards import UserError
from headimpact.table_kinds import SPLITS

# These reasons leave out an image; all others leave out a single object.
IMAGE_REASONS = (
    "damaged image",
    "size differs from the annotation file",
    "no box",
    "no key object",
)


def split_sizes(images: int, proportions: dict[str, float]) -> dict[str, int]:
    """The number of images of each split, by the largest remainder method.

    proportions: {split: number}; the paper's are 1000 : 1200 : 300 : 500 (section 3). The sizes
    sum to `images`. Raises UserError if a split would get no image.
    """
    total = sum(proportions.values())
    exact = {split: images * proportions[split] / total for split in SPLITS}
    sizes = {split: int(value) for split, value in exact.items()}
    by_remainder = sorted(SPLITS, key=lambda split: sizes[split] - exact[split])
    for split in by_remainder[: images - sum(sizes.values())]:
        sizes[split] += 1
    for split, size in sizes.items():
        if size == 0:
            raise UserError(
                f"sampling.images: {images} leaves no image for the split {split}; raise it"
            )
    return sizes


def draw_images(captions: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Draw `count` images at random, each with one of its captions.

    captions: a row for each caption, as CocoFolder.captions returns; the order does not matter.
    Returns a table of kind "images" without annotator and sha256, in the order of the draw. With
    the same seed, a larger draw begins with the images of a smaller one. Raises UserError if
    there are fewer than `count` images.
    """
    captions = captions.sort_values(["image_id", "caption_id"], ignore_index=True)
    groups = list(captions.groupby("image_id").groups.values())
    if count > len(groups):
        raise UserError(
            f"sampling.images: asks for {count} images, the dataset has {len(groups)}; lower it"
        )
    rng = np.random.default_rng(seed)
    chosen_captions = [
        rows[int(uniform * len(rows))]
        for rows, uniform in zip(groups, rng.random(len(groups)), strict=True)
    ]
    order = rng.permutation(len(groups))[:count]
    return captions.loc[[chosen_captions[i] for i in order]].reset_index(drop=True)


def draw_study(
    pools: dict[str, pd.DataFrame],
    sizes: dict[str, int],
    annotators: dict[str, str],
    spare: float,
    seed: int,
) -> pd.DataFrame:
    """Draw the images of a study: for each annotator those that its splits need, and a spare.

    pools: {annotator: captions as for `draw_images`}. They are drawn from in this order, and no
    image of a pool is drawn from a later one. sizes: {split: number of images}. annotators:
    {split: annotator}. spare: how many more images to draw for those that are left out later, as
    a share. Returns a table of kind "images" without sha256. Raises UserError if a pool has too
    few images.
    """
    drawn, earlier_ids = [], set()
    for annotator, captions in pools.items():
        candidates = captions[~captions["image_id"].isin(earlier_ids)]
        wanted = sum(size for split, size in sizes.items() if annotators[split] == annotator)
        available = candidates["image_id"].nunique()
        if wanted > available:
            source = "the release" if annotator == "release" else "the dataset"
            raise UserError(
                f"sampling.images: {wanted} are wanted for {annotator}, {source} has {available} "
                f"for it; lower sampling.images or its share in sampling.proportions"
            )
        count = min(math.ceil(wanted * (1 + spare)), available)
        drawn.append(draw_images(candidates, count, seed).assign(annotator=annotator))
        earlier_ids |= set(captions["image_id"])
    names = [name for name in columns("images") if name != "sha256"]
    return pd.concat(drawn, ignore_index=True)[names]


def make_samples(
    images: pd.DataFrame,
    annotations: pd.DataFrame,
    dropped: pd.DataFrame,
    sizes: dict[str, int],
    annotators: dict[str, str],
    min_confidence: float,
    objects_per_image: dict[str, int | None],
    order: str,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Fill the splits with images that have a key object; no image is in two splits.

    images, annotations, dropped: tables of these kinds. sizes: {split: number of images}.
    annotators: {split: annotator}. min_confidence: masks with less are left out (section 3:
    0.85). objects_per_image: {split: the most objects that an image may have, None for all};
    `order` says which are taken: "area" (the largest masks), "random" or "annotation" (the
    first). The release cannot be enlarged, so a split that alone takes its images from it may
    stay smaller than its size. Returns tables of the kinds "samples", "objects" and "dropped".
    Raises UserError if too few images remain.
    """
    images = images.reset_index(drop=True)
    names = images.set_index("image_id")["file_name"]
    size_of = images.set_index("image_id")[["height", "width"]]
    all_dropped = [dropped]

    def leave_out(rows, reason):
        all_dropped.append(
            pd.DataFrame(
                {
                    "image_id": rows["image_id"],
                    "file_name": rows["image_id"].map(names),
                    "reason": reason,
                }
            )
        )

    confident = annotations["confidence"] >= min_confidence  # False for NaN
    leave_out(annotations[~confident], f"confidence below {min_confidence}")
    annotations = annotations[confident].copy()
    annotations["area"] = [
        int(decode(row.mask, *size_of.loc[row.image_id]).sum()) for row in annotations.itertuples()
    ]
    leave_out(annotations[annotations["area"] == 0], "empty mask")
    annotations = annotations[annotations["area"] > 0]
    annotated = ~images["image_id"].isin(_dropped_images(dropped))
    usable = images["image_id"].isin(annotations["image_id"]) & annotated
    leave_out(images[annotated & ~usable], "no key object")
    dropped = pd.concat(all_dropped, ignore_index=True)
    samples_by_annotator = []
    for annotator in dict.fromkeys(annotators.values()):
        wanted = {split: size for split, size in sizes.items() if annotators[split] == annotator}
        available = images[usable & (images["annotator"] == annotator)]
        if len(wanted) == 1 and annotator == "release":
            wanted = {split: min(size, len(available)) for split, size in wanted.items()}
        count = sum(wanted.values())
        if len(available) < count or count == 0:
            raise UserError(_too_few(images, dropped, annotator, count, len(available)))
        splits = np.repeat(list(wanted), list(wanted.values()))
        samples_by_annotator.append(available.head(count).assign(split=splits))
    samples = pd.concat(samples_by_annotator)
    samples = samples.iloc[np.argsort(samples["split"].map(list(sizes).index), kind="stable")]
    samples = samples.reset_index(drop=True)
    samples.insert(0, "sample_id", range(len(samples)))
    by_image = dict(list(annotations.groupby("image_id", sort=False)))
    objects_by_sample = []
    for sample in samples.itertuples():
        candidates = _sort_objects(by_image[sample.image_id], order, (seed, sample.image_id))
        chosen = candidates.head(objects_per_image[sample.split] or len(candidates))
        objects_by_sample.append(chosen.assign(sample_id=sample.sample_id))
    objects = pd.concat(objects_by_sample, ignore_index=True)
    objects["object_id"] = range(len(objects))
    return (
        samples[columns("samples")],
        objects[columns("objects")],
        dropped[columns("dropped")],
    )


def _too_few(
    images: pd.DataFrame, dropped: pd.DataFrame, annotator: str, wanted: int, available: int
) -> str:
    """The message that too few images of an annotator remain, with the reasons."""
    drawn = images[images["annotator"] == annotator]
    dropped = dropped[dropped["image_id"].isin(drawn["image_id"])]
    counts = ", ".join(
        f"{len(ids)} {reason}" for reason, ids in _by_reason(dropped) if reason in IMAGE_REASONS
    )
    # the authors' release has no more images to draw
    advice = "" if annotator == "release" else " or raise sampling.spare"
    return (
        f"sampling.images: {wanted} images are wanted, {available} of {len(drawn)} drawn "
        f"remain ({counts}); lower sampling.images{advice}"
    )


def count_outcomes(
    images: pd.DataFrame,
    annotations: pd.DataFrame,
    dropped: pd.DataFrame,
    samples: pd.DataFrame,
    objects: pd.DataFrame,
) -> pd.DataFrame:
    """How many images and objects of each annotator are in the study, and why the others are not.

    The arguments are tables of these kinds. Returns a table of annotator, unit ("image" or
    "object"), outcome and count. The first count of a unit is its total: the images drawn, or
    the objects found. It is the sum of the others: those left out for each reason, those that
    the study did not need (spare images, further objects of an image), and those in the study.
    """
    annotator = images.set_index("image_id")["annotator"]
    image_of = samples.set_index("sample_id")["image_id"]
    reasons = list(_by_reason(dropped))
    rows = []
    for name in annotator.unique():

        def count(ids, name=name):
            return int((ids.map(annotator) == name).sum())

        for unit, listed_ids, study_ids in (
            ("image", images["image_id"], samples["image_id"]),
            ("object", annotations["image_id"], objects["sample_id"].map(image_of)),
        ):
            is_image = unit == "image"
            dropped_counts = {
                reason: count(ids)
                for reason, ids in reasons
                if (reason in IMAGE_REASONS) == is_image
            }
            total, in_study = count(listed_ids), count(study_ids)
            if not is_image:  # Objects that an annotator left out are not in its annotations.
                total += sum(n for r, n in dropped_counts.items() if not _is_filter(r))
            outcomes = {"drawn" if is_image else "found": total}
            outcomes |= {f"left out: {reason}": n for reason, n in dropped_counts.items() if n}
            outcomes["not needed"] = total - sum(dropped_counts.values()) - in_study
            outcomes["in the study"] = in_study
            rows += [(name, unit, outcome, number) for outcome, number in outcomes.items()]
    return pd.DataFrame(rows, columns=["annotator", "unit", "outcome", "count"])


def _by_reason(dropped: pd.DataFrame) -> SeriesGroupBy:
    """The image ids of each reason; details after a colon are ignored."""
    return dropped.groupby(dropped["reason"].str.split(":").str[0], sort=True)["image_id"]


def _is_filter(reason: str) -> bool:
    """Whether the reason is one of `make_samples`, and not of an annotator."""
    return reason == "empty mask" or reason.startswith("confidence below")


def _dropped_images(dropped: pd.DataFrame) -> set[int]:
    """The ids of images that an annotator left out, and not only an object of them."""
    return {x for reason, ids in _by_reason(dropped) if reason in IMAGE_REASONS for x in ids}


def _sort_objects(objects: pd.DataFrame, order: str, seed: tuple[int, int]) -> pd.DataFrame:
    if order == "area":
        return objects.sort_values("area", ascending=False, kind="stable")
    if order == "random":
        return objects.iloc[np.random.default_rng(seed).permutation(len(objects))]
    return objects
