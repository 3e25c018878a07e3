"""A checkpoint's files as what transformers makes of them, its weights as a model."""

from headimpact.guards import UserError


def read_checkpoint(kind, folder, **options):
    """What the class `kind` of transformers makes of a checkpoint's folder.

    No code of a checkpoint is run: transformers would ask at the terminal whether to. Raises
    ValueError, one line that names the folder and the mend, for what cannot be read.
    """
    try:
        return kind.from_pretrained(folder, trust_remote_code=False, **options)
    except MemoryError:
        raise
    except Exception as error:  # of transformers, tokenizers, safetensors, by what is damaged
        # what follows is advice to run the checkpoint's code, or to install another transformers
        reason = " ".join(str(error).partition("\n")[0].split())
        raise UserError(
            f"{folder}: not a checkpoint that {kind.__name__} reads ({reason}); get it anew or "
            f"name another, no code of a checkpoint is run"
        ) from error


def load_weights(model_class, folder, dtype="float32", device="cpu"):
    """The checkpoint of `folder` as `model_class`, in evaluation mode, on `device`.

    Safetensors only, never code from the checkpoint. Raises ValueError if they are damaged, or
    lack weights of the model, which transformers would draw at random.
    """
    model, report = read_checkpoint(
        model_class, folder, dtype=dtype, use_safetensors=True, output_loading_info=True
    )
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} weights of {type(model).__name__} are missing, among "
            f"them {missing[0]}; name another checkpoint"
        )
    return model.to(device).eval()
