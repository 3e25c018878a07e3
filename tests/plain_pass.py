"""The plain way to score a description: one whole pass of the model, all attention kept."""

import torch


def plain(model, family, image, sequence):
    """One whole pass with eager attention: the model's own forward, from pixels.

    Returns the target's log-probabilities and the mean attention from its tokens to the image's.
    """
    text = model.get_submodule(family.decoder)
    ids = torch.tensor([sequence.ids])
    inputs = {**family.pixels([image]), "attention_mask": torch.ones_like(ids)}
    if family.model_type == "paligemma":
        inputs["token_type_ids"] = (torch.arange(ids.shape[1])[None] >= sequence.start).long()
    if family.model_type == "qwen2_vl":
        inputs["mm_token_type_ids"] = (ids == family.image_token).int()
    implementation = text.config._attn_implementation
    text.config._attn_implementation = "eager"
    with torch.no_grad():
        out = model(input_ids=ids, output_attentions=True, use_cache=False, **inputs)
    text.config._attn_implementation = implementation
    start = sequence.start
    logs = out.logits[0, start - 1 : -1].log_softmax(-1)
    logs = logs.gather(-1, ids[0, start:, None])[:, 0]
    attention = torch.stack(out.attentions)[:, 0, :, start:]
    return logs, attention[..., ids[0] == family.image_token].mean(2)
