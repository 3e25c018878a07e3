"""A reference for scoring: a full forward pass of the model that returns all attention."""

import torch


def full_pass(model, family, image, sequence):
    """Score a sequence by the model's own forward from pixels, with eager attention.

    Returns the target's log-probabilities, (tokens,), and the mean attention from its tokens to
    the image tokens, (layers, heads, image tokens).
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
        outputs = model(input_ids=ids, output_attentions=True, use_cache=False, **inputs)
    text.config._attn_implementation = implementation
    start = sequence.start
    log_probabilities = outputs.logits[0, start - 1 : -1].log_softmax(-1)
    log_probabilities = log_probabilities.gather(-1, ids[0, start:, None])[:, 0]
    attention = torch.stack(outputs.attentions)[:, 0, :, start:]
    return log_probabilities, attention[..., ids[0] == family.image_token].mean(2)
