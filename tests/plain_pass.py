"""A reference for scoring: a full forward pass of the model, without any code of the package."""

import torch


def plain_pass(model, family, image, sequence, **options):
    """The output of the model's own forward pass over a sequence, from pixels."""
    ids = torch.tensor([sequence.ids])
    inputs = {**family.pixels([image]), "attention_mask": torch.ones_like(ids)}
    if family.model_type == "paligemma":
        inputs["token_type_ids"] = (torch.arange(ids.shape[1])[None] >= sequence.start).long()
    if family.model_type == "qwen2_vl":
        inputs["mm_token_type_ids"] = (ids == family.image_token).int()
    return model(input_ids=ids, use_cache=False, **inputs, **options)


def target_log_probabilities(outputs, sequence):
    """Log-probabilities of the target's tokens, (tokens,), from the output of `plain_pass`."""
    start = sequence.start
    targets = torch.tensor(sequence.ids[start:])
    return outputs.logits[0, start - 1 : -1].log_softmax(-1).gather(-1, targets[:, None])[:, 0]


def full_pass(model, family, image, sequence):
    """Score a sequence by `plain_pass`, with eager attention.

    Returns the target's log-probabilities, (tokens,), and the mean attention from its tokens to
    the image tokens, (layers, heads, image tokens).
    """
    text = model.get_submodule(family.decoder)
    implementation = text.config._attn_implementation
    text.config._attn_implementation = "eager"
    with torch.no_grad():
        outputs = plain_pass(model, family, image, sequence, output_attentions=True)
    text.config._attn_implementation = implementation
    attention = torch.stack(outputs.attentions)[:, 0, :, sequence.start :]
    is_image = torch.tensor(sequence.ids) == family.image_token
    return target_log_probabilities(outputs, sequence), attention[..., is_image].mean(2)
