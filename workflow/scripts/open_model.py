"""Opens the model of a job, or its family alone."""

from open_checkpoint import open_checkpoint

from headimpact.models.load import (
    load_family,
    load_model,
    load_untrained_model,
    resolve_device,
    resolve_dtype,
)


def open_family(job):
    """The Family of the job's model, which reads no weights, and the checkpoint's identity."""
    folder, identity = open_checkpoint(job.params.model, job.input.get("checkpoint"))
    return load_family(folder), identity


def open_model(job):
    """The job's model on its device, its Family and the checkpoint's identity.

    The identity may ask for a model with random weights, from the seed "untrained".
    """
    folder, identity = open_checkpoint(job.params.model, job.input.get("checkpoint"))
    device = resolve_device(identity["device"])
    dtype = resolve_dtype(identity["dtype"], device)
    if "untrained" in identity:
        model = load_untrained_model(folder, identity["untrained"], dtype, device)
    else:
        model = load_model(folder, dtype, device)
    # an adapter keeps its base model's name: the checkpoint's, not a place on this machine
    model.name_or_path = model.config._name_or_path = identity["checkpoint"]
    return model, load_family(folder), {**identity, "device": device, "dtype": dtype}
