"""References: full forward passes of the models' own classes, with eager attention."""

from inspect import signature

import torch
from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING


def plain_inputs(family, image, sequence):
    """What the model's own forward takes beside a sequence's ids, from an image's pixels."""
    ids = torch.tensor([sequence.ids])
    inputs = {**family.pixels([image]), "attention_mask": torch.ones_like(ids)}
    if family.model_type == "paligemma":
        inputs["token_type_ids"] = (torch.arange(ids.shape[1])[None] >= sequence.start).long()
        return inputs
    # the inputs in which other models' processors mark the image's tokens by 1, and text by 0
    model_class = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(family.config)]
    for name in ("token_type_ids", "mm_token_type_ids"):
        if name in signature(model_class.forward).parameters:
            inputs[name] = (ids == family.image_token).int()
    return inputs


def plain_pass(model, family, image, sequence, **options):
    """The output of the model's own forward pass over a sequence, from pixels."""
    ids = torch.tensor([sequence.ids])
    inputs = plain_inputs(family, image, sequence)
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


def intervened_pass(model, family, sequence, inputs, intervention, variant):
    """Predictions of an intervention, from two full eager passes with hooks.

    The first records what enters each layer. In the second, the tokens up to the last image token
    enter each layer as in the first, and the attention weights of the text are edited; the output
    is computed again from the edited weights. inputs: of the model's forward, beside the ids.
    Returns log-probabilities over the vocabulary, (target tokens, vocabulary).
    """
    text = model.get_submodule(family.decoder)
    ids = torch.tensor([sequence.ids])
    image = ids[0] == family.image_token
    start = int(image.nonzero()[-1]) + 1
    rows, columns = torch.zeros(len(image), dtype=torch.bool), image.clone()
    rows[start:-1] = True if intervention.rows is None else intervention.rows
    columns[image] = True if intervention.columns is None else intervention.columns
    recorded = []

    def record(_layer, arguments):
        recorded.append(arguments[0])

    def restore(layer):
        def hook(_layer, arguments):
            states = arguments[0].clone()
            states[:, :start] = recorded[layer][:, :start]
            return states, *arguments[1:]

        return hook

    def edit(heads):
        removed = heads[:, None, None] & rows[:, None] & columns

        def hook(attention, _arguments, keywords, output):
            weights = output[1][0]
            value = attention.v_proj(keywords["hidden_states"])[0]
            value = value.unflatten(-1, (-1, attention.head_dim)).transpose(0, 1)
            value = value.repeat_interleave(len(weights) // len(value), 0)
            edited = weights.masked_fill(removed, 0)
            if variant == "renormalise":
                edited = edited / edited.sum(-1, keepdim=True)
            states = edited @ value
            if variant == "mean":
                lost = (weights - edited).sum(-1, keepdim=True)
                states += lost * value[:, image].mean(1, keepdim=True)
            states = states.transpose(0, 1).flatten(1)[None]
            return attention.o_proj(states), output[1]

        return hook

    def run():
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False, **inputs).logits
        return logits[0, sequence.start - 1 : -1].log_softmax(-1)

    implementation = text.config._attn_implementation
    text.config._attn_implementation = "eager"
    hooks = [layer.register_forward_pre_hook(record) for layer in text.layers]
    run()
    for hook in hooks:
        hook.remove()
    hooks = []
    for number, layer in enumerate(text.layers):
        hooks.append(layer.register_forward_pre_hook(restore(number)))
        hook = edit(intervention.heads[number])
        hooks.append(layer.self_attn.register_forward_hook(hook, with_kwargs=True))
    try:
        return run()
    finally:
        text.config._attn_implementation = implementation
        for hook in hooks:
            hook.remove()
