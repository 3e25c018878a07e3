"""From images and what was found in them to samples: drawing, filters, splits."""

import math

import numpy as np
import pandas as pd

from headimpact.artifacts import SCHEMAS, SPLITS
from headimpact.dataset.masks import decode


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
            raise ValueError(
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
        raise ValueError(
            f"sampling.images: asks for {count} images, the dataset has {len(groups)}; lower it"
        )
    rng = np.random.default_rng(seed)
    picked = [
        rows[int(pick * len(rows))]
        for rows, pick in zip(groups, rng.random(len(groups)), strict=True)
    ]
    order = rng.permutation(len(groups))[:count]
    return captions.loc[[picked[i] for i in order], captions.columns].reset_index(drop=True)


def draw_study(pools, sizes, annotators, spare, seed):
    """The images of a study, for each annotator as many as its splits want and a spare.

    pools: {annotator: its captions, as for draw_images}, in the order in which they are drawn
    from; no image of an earlier pool is drawn from a later one. sizes: images a split.
    annotators: {split: annotator}. spare: further images, as a share, for those that drop out.
    Returns a table of kind "images".
    """
    drawn, taken = [], set()
    for annotator, captions in pools.items():
        own = captions[~captions["image_id"].isin(taken)]
        wanted = sum(size for split, size in sizes.items() if annotators[split] == annotator)
        there = own["image_id"].nunique()
        if wanted > there:
            source = "the release" if annotator == "release" else "the dataset"
            raise ValueError(
                f"sampling.images: {wanted} are wanted for {annotator}, {source} has {there} for "
                f"it; lower sampling.images or its share in sampling.proportions"
            )
        count = min(math.ceil(wanted * (1 + spare)), there)
        drawn.append(draw_images(own, count, seed).assign(annotator=annotator))
        taken |= set(captions["image_id"])
    return pd.concat(drawn, ignore_index=True)[SCHEMAS["images"].names]


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
    whole = ~images["image_id"].isin(_damaged(dropped))
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
            raise ValueError(_too_few(images, dropped, annotator, wanted, len(there)))
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
        samples[SCHEMAS["samples"].names],
        objects[SCHEMAS["objects"].names],
        dropped[SCHEMAS["dropped"].names],
    )


def _too_few(images, dropped, annotator, wanted, there):
    drawn = images[images["annotator"] == annotator]
    lost = dropped[dropped["image_id"].isin(drawn["image_id"])]
    counts = lost["reason"].str.split(":").str[0].value_counts()
    counts = ", ".join(f"{n} {reason}" for reason, n in counts.items())
    return (
        f"sampling.images: {wanted} images are wanted, {there} of {len(drawn)} drawn "
        f"remain ({counts}); lower sampling.images or raise sampling.spare"
    )


def count_outcomes(images, annotations, dropped, samples, objects):
    """What became of what the annotators found: a row an annotator and outcome, with its count.

    All are the tables of those kinds. The outcomes: images drawn and objects found, each reason
    to leave one out, and the images and key objects of the study; what is missing between them
    are spare images and further objects of an image.
    """
    annotator = images.set_index("image_id")["annotator"]
    image_of = samples.set_index("sample_id")["image_id"]
    told = [
        ("images drawn", images["image_id"]),
        ("objects found", annotations["image_id"]),
        *((f"left out: {why}", rows) for why, rows in _reasons(dropped)),
        ("images in the study", samples["image_id"]),
        ("objects in the study", objects["sample_id"].map(image_of)),
    ]
    rows = [
        {"annotator": name, "outcome": outcome, "count": int(count)}
        for outcome, ids in told
        for name, count in ids.map(annotator).value_counts(sort=False).items()
    ]
    table = pd.DataFrame(rows, columns=["annotator", "outcome", "count"])
    return table.sort_values("annotator", kind="stable", ignore_index=True)


def _reasons(dropped):
    # what stands behind a colon tells one case from another
    return dropped.groupby(dropped["reason"].str.split(":").str[0], sort=True)["image_id"]


def _damaged(dropped):
    """The images of which nothing may be used."""
    reasons = dropped["reason"].str
    whole = reasons.startswith("damaged image") | reasons.startswith("size differs")
    return set(dropped.loc[whole, "image_id"])


def _ordered(mine, order, seed):
    if order == "area":
        return mine.sort_values("area", ascending=False, kind="stable")
    if order == "random":
        return mine.iloc[np.random.default_rng(seed).permutation(len(mine))]
    return mine
