"""From images and what was found in them to samples: drawing, filters, splits."""

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
    the same seed a larger count begins with the same images. Returns a table of kind "images".
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
    return captions.loc[[picked[i] for i in order], SCHEMAS["images"].names].reset_index(drop=True)


def make_samples(
    images, annotations, dropped, sizes, min_confidence, objects_per_image, order, seed
):
    """Fill the splits with images that keep a key object; no image is in two splits.

    images, annotations, dropped: tables of those kinds; damaged images stand in `dropped`.
    sizes: images a split. min_confidence: a mask below it is left out (section 3: 0.85).
    objects_per_image: for each split the most key objects of an image, None for all; `order`
    says which come first: "area" (largest mask), "random" or "annotation".
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
    wanted = sum(sizes.values())
    if kept.sum() < wanted:
        lost = dropped["reason"].str.split(":").str[0].value_counts()
        counts = ", ".join(f"{n} {reason}" for reason, n in lost.items())
        raise ValueError(
            f"sampling.images: {wanted} images are wanted, {kept.sum()} of {len(images)} drawn "
            f"remain ({counts}); lower sampling.images or raise sampling.spare"
        )
    samples = images[kept].head(wanted).reset_index(drop=True)
    samples.insert(0, "sample_id", range(wanted))
    samples["split"] = np.repeat(list(sizes), list(sizes.values()))
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
