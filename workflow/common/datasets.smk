# The images of a study and who annotates them: the files that a rule waits for.

from headimpact.config import annotators

COCO = f"{DATA}/coco"
RELEASE = f"{DATA}/release/{config['downloads']['release_commit']}"


def dataset_root(wildcards):
    """How a job opens the study's images: the arguments of a CocoFolder."""
    dataset, own = study_of(wildcards)["dataset"], f"results/{wildcards.study}/dataset"
    if dataset["kind"] == "scenes":
        return {"root": own, "subset": "scenes"}
    if dataset["kind"] == "captions":
        return {"root": own, "subset": "images", "images": dataset["root"], "upright": True}
    return {"root": dataset["root"] or COCO, "subset": dataset["subset"]}


def annotation_kinds(study):
    """The annotation files of COCO's layout that a study reads."""
    return ["captions", *(["instances"] if "instances" in annotators(study).values() else [])]


@cache
def coco_files(name):
    """The annotation files of a folder in COCO's layout; what is missing ends the run."""
    from headimpact.dataset.coco import CocoFolder  # pandas, that only such a folder needs

    study, where = checked(name), f"config.yaml: studies.{name}"
    dataset, wanted = study["dataset"], study["sampling"]["images"]
    folder, kinds = CocoFolder(dataset["root"], dataset["subset"]), annotation_kinds(study)
    try:
        folder.check(kinds)
        there = folder.image_count()
    except ValueError as error:
        stop(f"{where}: {error}")
    if wanted > there:
        stop(
            f"{where}.sampling.images: asks for {wanted} images, {folder.root} has {there}; lower it"
        )
    return {k: f"{dataset['root']}/annotations/{k}_{dataset['subset']}.json" for k in kinds}


def annotation_files(wildcards):
    """What a rule that opens images or annotations waits for."""
    study = study_of(wildcards)
    kind, root = study["dataset"]["kind"], study["dataset"]["root"]
    if kind == "scenes":
        return {"dataset": f"results/{wildcards.study}/dataset"}
    if kind == "captions":
        return {"captions": f"results/{wildcards.study}/dataset/annotations/captions_images.json"}
    if root:
        return coco_files(wildcards.study)
    files = {k: f"{COCO}/annotations/{k}_val2017.json" for k in annotation_kinds(study)}
    return {**files, "photographs": f"{COCO}/val2017"}


def annotators_of(wildcards):
    return annotators(study_of(wildcards))


def release_folder(wildcards):
    """The authors' release, for a study that uses it: the user's folder or the one to download."""
    study = study_of(wildcards)
    if "release" not in annotators(study).values():
        return []
    if study["annotator"]["release"] is None:
        return RELEASE
    from headimpact.dataset.release import Release  # pandas, that only such a folder needs

    try:
        Release(study["annotator"]["release"]).check()
    except ValueError as error:
        stop(f"config.yaml: studies.{wildcards.study}.{error}")
    return study["annotator"]["release"]


def release_commit(wildcards):
    """The release's commit, or that it is a folder of the user's."""
    own = study_of(wildcards)["annotator"]["release"]
    return config["downloads"]["release_commit"] if own is None else "a folder"


def image_url(wildcards):
    """What the authors' layout writes before an image's name."""
    dataset = study_of(wildcards)["dataset"]
    known = dataset["kind"] == "coco" and dataset["subset"] in ("val2017", "train2017")
    return f"http://images.cocodataset.org/{dataset['subset']}" if known else "images"


def drawn_by(wildcards):
    """What of the sampling decides which images are drawn."""
    sampling = part("sampling")(wildcards)
    return {key: sampling[key] for key in ("images", "spare", "seed", "proportions")}


def annotated(kind):
    """An input function: the shards of all annotators of a study."""

    def files(wildcards):
        used = dict.fromkeys(annotators_of(wildcards).values())
        return [
            f"results/{wildcards.study}/annotations/{annotator}.{shard}{kind}"
            for annotator in used
            for shard in range(part("annotator", "shards")(wildcards))
        ]

    return files


def downloads_of(study):
    """All that a study fetches before it can run where there is no network."""
    told, needs = checked(study), []
    if told["dataset"]["kind"] == "coco" and told["dataset"]["root"] is None:
        needs.append(f"{COCO}/val2017")
    used = annotators(told).values()
    if "release" in used and told["annotator"]["release"] is None:
        needs.append(RELEASE)
    entries = list(told["models"].values())
    if "florence2_sam2" in used:
        entries += [told["annotator"][name] for name in ("grounder", "segmenter")]
    return needs + [fetched(entry) for entry in entries if fetched(entry)]
