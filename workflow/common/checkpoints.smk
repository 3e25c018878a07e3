# Checkpoints, in folders and on the hub: what a job needs to load one, and what it waits for.

import hashlib

from headimpact.config import is_local

PIECE = 1 << 16  # bytes


@cache
def digest(folder):
    """What tells one local checkpoint from another: of large files 64 pieces, evenly spread."""
    found = hashlib.sha256()
    for path in sorted(path for path in Path(folder).iterdir() if path.is_file()):
        size = path.stat().st_size
        found.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for start in range(0, size, max(PIECE, -(-size // 64))):
                file.seek(start)
                found.update(file.read(PIECE))
    return found.hexdigest()[:16]


# of the hub checkpoints that this run waits for: where it is told what was fetched
WANTED = {}


def fetched(entry):
    """The file that tells what was fetched of a hub checkpoint; nothing for a folder."""
    if is_local(entry["checkpoint"]):
        return []
    path = f"{DATA}/checkpoints/{entry['checkpoint']}@{entry['revision'] or 'main'}.json"
    WANTED[path] = entry["checkpoint"], entry["revision"]
    return path


def checkpoint_params(entry, device, dtype="float32"):
    """What a job needs to load a checkpoint, and what tells it from another."""
    local = is_local(entry["checkpoint"])
    return {
        "checkpoint": entry["checkpoint"],
        "revision": entry["revision"],
        "dtype": dtype,
        "device": device,
        "digest": digest(entry["checkpoint"]) if local else None,
    }


def checkpoint_of(wildcards):
    entry = model_of(wildcards)
    return checkpoint_params(entry, study_of(wildcards)["device"], entry["dtype"])


def fetched_model(wildcards):
    return fetched(model_of(wildcards))


def first_model(wildcards):
    return next(iter(part("models")(wildcards).values()))


def first_tokens(wildcards):
    return f"results/{wildcards.study}/{models_of(wildcards)[0]}/tokens.parquet"


def first_checkpoint(wildcards):
    return checkpoint_params(first_model(wildcards), "cpu")


def fetched_first_model(wildcards):
    return fetched(first_model(wildcards))


def annotator_checkpoint(name):
    """A params function: the grounder or the segmenter, which always run in float32."""

    def read(wildcards):
        study = study_of(wildcards)
        return checkpoint_params(study["annotator"][name], study["device"])

    return read


def fetched_annotator(name):
    def read(wildcards):
        return fetched(study_of(wildcards)["annotator"][name])

    return read


def counted_models(wildcards):
    """What tables 1 and 5 are counted from, a model each."""
    return [
        {
            "title": entry["title"],
            "configuration": entry["configuration"],
            "fetched": fetched(entry) if entry["configuration"] is None else [],
            **checkpoint_params(entry, "cpu"),
        }
        for entry in part("models")(wildcards).values()
    ]


def fetched_to_count(wildcards):
    return [entry["fetched"] for entry in counted_models(wildcards) if entry["fetched"]]


def check_access_to_checkpoints():
    """End the run before any job if a checkpoint that it waits for cannot be fetched."""
    missing = [told for path, told in WANTED.items() if not Path(path).exists()]
    if not missing:
        return
    from headimpact.fetch.hub import check_access

    for checkpoint, revision in missing:
        try:
            check_access(checkpoint, revision)
        except (ValueError, OSError) as error:
            stop(error)
