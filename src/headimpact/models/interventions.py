"""What a model predicts once chosen heads read the image no longer.

Many interventions on one sequence share a pass: the prefix is computed once, and is followed by a
branch for each intervention, the text behind the image. Where the image sees the prompt, the prefix
is the whole prompt, and a branch repeats the prompt's text: its rows see the image's tokens as they
are without an intervention. Without an intervention, a branch equals the plain pass.

Text between an image's tiles belongs to the prefix: it reads the tiles before it whatever is taken
away behind it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from headimpact.guards import NotFiniteError, naming_image
from headimpact.models.family import EncodedImage, Family, Sequence
from headimpact.models.intervened_attention import Branches, Variant
from headimpact.models.layout import conversation_segments, lay_out
from headimpact.models.prefix_attention import use_prefix_attention


@dataclass(frozen=True, eq=False)
class Intervention:
    """Which attention from the text to the image is taken away.

    heads: BoolTensor (layers, heads), where. rows: BoolTensor (branch tokens,), the tokens that
    lose the reads, see `branch_tokens`; None for all. columns: BoolTensor (image tokens,), the
    image tokens that they no longer read; None for all.
    """

    heads: torch.Tensor
    rows: torch.Tensor | None = None
    columns: torch.Tensor | None = None


def branch_tokens(family: Family, sequence: Sequence) -> range:
    """Indices in `sequence.ids` of the tokens on which an intervention acts.

    They are all behind the image but the last one, from which nothing is predicted. Raises
    ValueError if no token of the text is between the image and the target.
    """
    last_image = max(i for i, token in enumerate(sequence.ids) if token == family.image_token)
    if sequence.start <= last_image + 1:
        raise ValueError("no text is between the image and the target")
    return range(last_image + 1, len(sequence.ids) - 1)


@torch.no_grad()
def predict_under_interventions(
    model: torch.nn.Module,
    family: Family,
    image: EncodedImage,
    sequence: Sequence,
    interventions: list[Intervention],
    variant: Variant = "renormalise",
    pieces: int = 64,
) -> Iterator[torch.Tensor]:
    """Yield, for each intervention, what the model predicts of the target's tokens.

    Each is float32 (target tokens, vocabulary), log-probabilities on the model's device. They come
    one by one because those of 64 descriptions fill gigabytes for a large vocabulary.
    pieces: how many interventions share a pass. Raises NotFiniteError, naming the image.
    """
    tokens = branch_tokens(family, sequence)
    plain = Sequence(sequence.ids[:-1], sequence.start)
    layout = lay_out(family, image.grid, conversation_segments(plain))
    # where the image sees the prompt, the prefix has to hold all of it
    start = sequence.start if family.attention_pattern == "prefix" else tokens.start
    predicting = torch.arange(sequence.start - 1, len(plain.ids)) - tokens.start
    for first in range(0, len(interventions), pieces):
        piece = interventions[first : first + pieces]
        branches = Branches(
            layout=layout,
            start=start,
            text_start=tokens.start,
            heads=torch.stack([i.heads for i in piece], -1).to(model.device),
            reads=torch.stack([_reads(layout, tokens, i) for i in piece]).to(model.device),
            variant=variant,
        )
        starts = start + len(tokens) * torch.arange(len(piece))
        places = starts[:, None] + predicting
        logits = _logits(model, family, image, branches, places.flatten())
        for branch in logits.unflatten(0, places.shape):
            logs = branch.float().log_softmax(-1)
            if not torch.isfinite(logs).all():
                with naming_image(image):
                    raise NotFiniteError("a log-probability is not finite")
            yield logs


def branched_length(family: Family, sequence: Sequence, branches: int) -> int:
    """Number of tokens of the pass in which that many branches share a prefix."""
    tokens = branch_tokens(family, sequence)
    start = sequence.start if family.attention_pattern == "prefix" else tokens.start
    return start + branches * len(tokens)


def passes_per_branch(family: Family, sequence: Sequence, branches: int) -> float:
    """The cost of a branch of such a pass, in passes of the sequence alone."""
    return branched_length(family, sequence, branches) / (len(sequence.ids) - 1) / branches


def _reads(layout, tokens, intervention):
    """BoolTensor (branch tokens, tokens before the branch): which reads are taken away."""
    columns = layout.is_image[: tokens.start].clone()
    if intervention.columns is not None:
        columns[columns.clone()] = intervention.columns.cpu()
    rows = intervention.rows
    rows = torch.ones(len(tokens), dtype=torch.bool) if rows is None else rows.cpu()
    if len(rows) != len(tokens):
        raise ValueError(f"{len(rows)} rows for a branch of {len(tokens)} tokens")
    return rows[:, None] & columns


def _logits(model, family, image, branches, places):
    """Logits at `places`, indices of tokens of the whole pass; (places, vocabulary)."""
    layout, device, count = branches.layout, model.device, branches.heads.shape[-1]

    def repeat(tokens):
        """The prefix and the branches, (1, ..., length), of a tensor (..., length)."""
        branch = tokens[..., branches.text_start :]
        return torch.cat([tokens[..., : branches.start], *[branch] * count], -1)[None].to(device)

    ids = repeat(layout.ids)
    with use_prefix_attention(model.get_submodule(family.decoder).config, "intervened"):
        return model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            position_ids=family.arrange_positions(repeat(layout.positions)),
            mm_encoder_outputs=family.encoder_outputs([image.features]),
            use_cache=False,
            logits_to_keep=places.to(device),
            branches=branches,
            **{name: repeat(types) for name, types in layout.token_types.items()},
        ).logits[0]
