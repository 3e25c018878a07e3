"""From images and what was found in them to samples: drawing, filters, splits."""

import math

import numpy as np
import pandas as pd

from headimpact.artifacts import SPLITS, columns
from headimpact.dataset.masks import decode
from headimpact.guards import UserError

# reasons that leave out an image; all others leave out an object
WHOLE_IMAGE = ("damaged image", "size differs from the annotation file", "no box", "no key object")


def split_sizes(images, proportions):
    """`images` shared out by `proportions` (dict split: number), largest remainder first.

    The paper's are 1000 : 1200 : 300 : 500 (section 3). Returns a dict whose values sum to
    `images`; raises ValueError if a split would get none.
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
                f"sampling.images: {images} leave no image for the split {split}; raise it"
            )
    return sizes


def draw_images(captions, count, seed):
    """`count` images drawn at random, each with one of its captions, in the order of the draw.

    captions: a row a caption, as CocoFolder.captions gives; their order does not matter. With
    the same seed a larger count begins with the same images. Returns a table of kind "images"
    but for who annotates them.
    """
    captions = captions.sort_values(["image_id", "caption_id"], ignore_index=True)
    groups = list(captions.groupby("image_id").groups.values())
    if count > len(groups):
        raise UserError(
            f"sampling.images: asks for {count} images, the dataset has {len(groups)}; lower it"
        )
    rng = np.random.default_rng(seed)
    picked = [
        rows[int(pick * len(rows))]
        for rows, pick in zip(groups, rng.random(len(groups)), strict=True)
    ]
    order = rng.permutation(len(groups))[:count]
    return captions.loc[[picked[i] for i in order]].reset_index(drop=True)


def draw_study(pools, sizes, annotators, spare, seed):
    """The images of a study, for each annotator as many as its splits want and a spare.

    pools: {annotator: its captions, as for draw_images}, in the order in which they are drawn
    from; no image of an earlier pool is drawn from a later one. sizes: images a split.
    annotators: {split: annotator}. spare: further images, as a share, for those that drop out.
    Returns a table of kind "images", without its sha256.
    """
    drawn, taken = [], set()
    for annotator, captions in pools.items():
        own = captions[~captions["image_id"].isin(taken)]
        wanted = sum(size for split, size in sizes.items() if annotators[split] == annotator)
        there = own["image_id"].nunique()
        if wanted > there:
            source = "the release" if annotator == "release" else "the dataset"
            raise UserError(
                f"sampling.images: {wanted} are wanted for {annotator}, {source} has {there} for "
                f"it; lower sampling.images or its share in sampling.proportions"
            )
        count = min(math.ceil(wanted * (1 + spare)), there)
        drawn.append(draw_images(own, count, seed).assign(annotator=annotator))
        taken |= set(captions["image_id"])
    names = [name for name in columns("images") if name != "sha256"]
    return pd.concat(drawn, ignore_index=True)[names]


def make_samples(
    images, annotations, dropped, sizes, annotators, min_confidence, objects_per_image, order, seed
):
    """Fill the splits with images that keep a key object; no image is in two splits.

    images, annotations, dropped: tables of those kinds; damaged images stand in `dropped`.
    sizes: images a split. annotators: {split: whose images it takes}. A split that alone takes
    the authors' release gets what remains of it, up to its size: it has no more. min_confidence:
    a mask below it is left out (section 3: 0.85). objects_per_image: for each split the most key
    objects of an image, None for all; `order` says which come first: "area" (largest mask),
    "random" or "annotation".
    Returns the tables samples, objects and dropped. Raises ValueError if too few images remain.
    """
    images = images.reset_index(drop=True)
    names = images.set_index("image_id")["file_name"]
    size_of = images.set_index("image_id")[["height", "width"]]
    lost = [dropped]

    def leave_out(rows, reason):
        lost.append(
            pd.DataFrame(
                {
                    "image_id": rows["image_id"],
                    "file_name": rows["image_id"].map(names),
                    "reason": reason,
                }
            )
        )

    unsure = ~(annotations["confidence"] >= min_confidence)  # NaN is unsure too
    leave_out(annotations[unsure], f"confidence below {min_confidence}")
    annotations = annotations[~unsure].copy()
    annotations["area"] = [
        int(decode(row.mask, *size_of.loc[row.image_id]).sum()) for row in annotations.itertuples()
    ]
    leave_out(annotations[annotations["area"] == 0], "empty mask")
    annotations = annotations[annotations["area"] > 0]
    whole = ~images["image_id"].isin(_lost(dropped))
    kept = images["image_id"].isin(annotations["image_id"]) & whole
    leave_out(images[whole & ~kept], "no key object")
    dropped = pd.concat(lost, ignore_index=True)
    filled = []
    for annotator in dict.fromkeys(annotators.values()):
        mine = {split: size for split, size in sizes.items() if annotators[split] == annotator}
        there = images[kept & (images["annotator"] == annotator)]
        if len(mine) == 1 and annotator == "release":
            mine = {split: min(size, len(there)) for split, size in mine.items()}
        wanted = sum(mine.values())
        if len(there) < wanted or wanted == 0:
            raise UserError(_too_few(images, dropped, annotator, wanted, len(there)))
        splits = np.repeat(list(mine), list(mine.values()))
        filled.append(there.head(wanted).assign(split=splits))
    samples = pd.concat(filled)
    samples = samples.iloc[np.argsort(samples["split"].map(list(sizes).index), kind="stable")]
    samples = samples.reset_index(drop=True)
    samples.insert(0, "sample_id", range(len(samples)))
    by_image = dict(list(annotations.groupby("image_id", sort=False)))
    chosen = []
    for sample in samples.itertuples():
        mine = _ordered(by_image[sample.image_id], order, (seed, sample.image_id))
        mine = mine.head(objects_per_image[sample.split] or len(mine))
        chosen.append(mine.assign(sample_id=sample.sample_id))
    objects = pd.concat(chosen, ignore_index=True)
    objects["object_id"] = range(len(objects))
    return (
        samples[columns("samples")],
        objects[columns("objects")],
        dropped[columns("dropped")],
    )


def _too_few(images, dropped, annotator, wanted, there):
    drawn = images[images["annotator"] == annotator]
    lost = dropped[dropped["image_id"].isin(drawn["image_id"])]
    counts = ", ".join(f"{len(ids)} {why}" for why, ids in _reasons(lost) if why in WHOLE_IMAGE)
    return (
        f"sampling.images: {wanted} images are wanted, {there} of {len(drawn)} drawn "
        f"remain ({counts}); lower sampling.images or raise sampling.spare"
    )


def count_outcomes(images, annotations, dropped, samples, objects):
    """What became of what the annotators found: a table of annotator, unit, outcome and count.

    All are the tables of those kinds. For images and for objects: how many there were, how many
    were left out for each reason, how many the study did not need (spare images, further objects
    of an image), and how many it has. The first is the sum of the others.
    """
    annotator = images.set_index("image_id")["annotator"]
    image_of = samples.set_index("sample_id")["image_id"]
    reasons = list(_reasons(dropped))
    rows = []
    for name in annotator.unique():

        def count(ids, name=name):
            return int((ids.map(annotator) == name).sum())

        for unit, there, kept in (
            ("image", images["image_id"], samples["image_id"]),
            ("object", annotations["image_id"], objects["sample_id"].map(image_of)),
        ):
            left = {w: count(i) for w, i in reasons if (w in WHOLE_IMAGE) == (unit == "image")}
            # what an annotator itself left out is not among its annotations
            before = 0 if unit == "image" else sum(n for w, n in left.items() if not _later(w))
            total, has = count(there) + before, count(kept)
            left = {f"left out: {why}": n for why, n in left.items() if n}
            spare = total - sum(left.values()) - has
            told = {"drawn" if unit == "image" else "found": total, **left}
            told |= {"not needed": spare, "in the study": has}
            rows += [(name, unit, outcome, number) for outcome, number in told.items()]
    return pd.DataFrame(rows, columns=["annotator", "unit", "outcome", "count"])


def _reasons(dropped):
    # what stands behind a colon tells one case from another
    return dropped.groupby(dropped["reason"].str.split(":").str[0], sort=True)["image_id"]


def _later(reason):
    """Whether a reason leaves out what is among the annotations."""
    return reason == "empty mask" or reason.startswith("confidence below")


def _lost(dropped):
    """The images that an annotator left out as a whole."""
    return {image for why, ids in _reasons(dropped) if why in WHOLE_IMAGE for image in ids}


def _ordered(mine, order, seed):
    if order == "area":
        return mine.sort_values("area", ascending=False, kind="stable")
    if order == "random":
        return mine.iloc[np.random.default_rng(seed).permutation(len(mine))]
    return mine
