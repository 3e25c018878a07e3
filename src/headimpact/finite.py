"""Where a model's values cease to be finite."""

import torch


@torch.no_grad()
def origin(model, family, run):
    """The first decoder layer whose output is not finite in `run()`, a pass of `model`, as text."""
    layers, found = model.get_submodule(family.decoder).layers, []

    def before(_layer, given):
        if not torch.isfinite(given[0]).all():
            found.append("before layer 0")

    def behind(number):
        def look(_layer, _given, output):
            output = output[0] if isinstance(output, tuple) else output
            if not torch.isfinite(output).all():
                found.append(f"in layer {number}")

        return look

    hooks = [layers[0].register_forward_pre_hook(before)]
    hooks += [layer.register_forward_hook(behind(n)) for n, layer in enumerate(layers)]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else "behind the last layer"
