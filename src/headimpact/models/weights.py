"""A checkpoint's weights as a model of transformers."""


def load_weights(model_class, folder, dtype="float32", device="cpu"):
    """The checkpoint of `folder` as `model_class`, in evaluation mode, on `device`.

    Safetensors only, never code from the checkpoint. Raises ValueError if it lacks weights of
    the model, which transformers would draw at random.
    """
    model, report = model_class.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, output_loading_info=True
    )
    missing = sorted(report["missing_keys"])
    if missing:
        raise ValueError(
            f"{folder}: {len(missing)} weights of {type(model).__name__} are missing, among "
            f"them {missing[0]}; name another checkpoint"
        )
    return model.to(device).eval()
