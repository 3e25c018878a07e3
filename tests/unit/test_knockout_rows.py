"""Rows of knockouts against blocked image reads, and against separate passes with hooks."""

import numpy as np
import pandas as pd
import pytest
import torch
from plain_pass import intervened_pass, plain_inputs

from headimpact.guards import NotFiniteError
from headimpact.models import prompts
from headimpact.models.image_reads import block_image_reads
from headimpact.models.interventions import Intervention, branch_tokens
from headimpact.models.layout import conversation_segments, lay_out
from headimpact.scores.knockout_rows import KnockoutSettings, knockout_rows
from headimpact.table_kinds import LABELS

DESCRIPTION = "a blue zebra that smokes"
OPTIONS = ["a dog", DESCRIPTION, "a large pink moon", "no one"]
LETTERED = {f"option_{label}": option for label, option in zip(LABELS, OPTIONS, strict=True)}
QUESTIONS = pd.DataFrame([{"object_id": 7, "answer": "B", **LETTERED}])
ITEMS = pd.DataFrame([{"sample_id": 3, "object_id": 7, "description": DESCRIPTION}])
SIZE = 72, 48


class Photos:
    """Gives one image, whatever its name."""

    def __init__(self, image):
        self.image = lambda _name: image


@pytest.fixture
def knock_out(model_and_family, photo):
    """Rows of kind "knockouts" as a table, with the tokens of the sources given."""
    model, family = model_and_family

    def run(sources, batch=64, **settings):
        samples = pd.DataFrame(
            [{"sample_id": 3, "file_name": "x.png", "width": SIZE[0], "height": SIZE[1]}]
        )
        settings = {"outcomes": ["description", "question"], "variant": "renormalise", **settings}
        chosen = KnockoutSettings(sources=list(sources), **settings)
        tables = knockout_rows(
            *(model, family, Photos(photo(*SIZE)), samples, ITEMS, {7: sources}, QUESTIONS),
            *(chosen, batch),
        )
        return pd.DataFrame(next(tables))

    return run


@pytest.fixture
def sequences(model_and_family):
    """The sequence of each outcome."""
    _, family = model_and_family
    grid = family.grid(*SIZE)
    return {
        "description": prompts.description(family, grid, DESCRIPTION),
        "question": prompts.choices(family, grid, OPTIONS)[0],
    }


def tokens(family, chosen):
    """bool (image tokens,), the ones that `chosen` indexes."""
    mask = np.zeros(family.grid(*SIZE).tokens, bool)
    mask[chosen] = True
    return mask


def columns_of(family, grid, outcome, sequence, logs):
    """What a row says, from log-probabilities (target tokens, vocabulary)."""
    if outcome == "description":
        target = torch.tensor(sequence.ids[sequence.start :])[:, None]
        return {"log_probability": logs.gather(-1, target).sum().item()}
    labels = [choice.ids[-1] for choice in prompts.choices(family, grid, OPTIONS)]
    return {f"log_{x}": logs[0, label].item() for x, label in zip(LABELS, labels, strict=True)}


def assert_says(row, expected):
    for column, value in expected.items():
        # a description's sum has seven digits in float32: 86 nats are known to 1e-5 at best
        assert row[column] == pytest.approx(value, abs=1e-5, rel=1e-6), column


def test_without_a_token_or_a_layer_a_knockout_changes_nothing(knock_out, model_and_family):
    _, family = model_and_family
    table = knock_out({"object": tokens(family, [])}, width=3, rows=["text", "prompt"])
    values = ["log_probability", *(f"log_{label}" for label in LABELS)]
    for _, rows in table.groupby("outcome"):
        spread = (rows[values] - rows[values].iloc[0]).abs().max().max()
        assert len(rows) > 1 and spread < 1e-5
    # the same of all tokens changes something
    other = knock_out({"object": tokens(family, slice(None))}, width=3, rows=["text"])
    assert (other["log_probability"] - table["log_probability"].iloc[0]).abs().max() > 1e-3


def blocked_pass(model, family, sequence, image):
    """Log-probabilities of a full pass in which no text reads the image."""
    layout = lay_out(family, family.grid(*image.size), conversation_segments(sequence))
    (features,) = family.features(model, family.pixels([image]))
    mask = torch.zeros(layout.visible().shape)
    mask = mask.masked_fill(~layout.visible(), torch.finfo(mask.dtype).min)
    every = torch.ones(family.layers, family.heads, dtype=torch.bool)
    with torch.no_grad(), block_image_reads(model, family, every):
        logits = model(
            input_ids=layout.ids[None],
            attention_mask=mask[None, None],
            position_ids=family.arrange_positions(layout.positions[None]),
            mm_encoder_outputs=family.encoder_outputs([features]),
            use_cache=False,
            **{name: types[None] for name, types in layout.token_types.items()},
        ).logits
    return logits[0, sequence.start - 1 : -1].log_softmax(-1)


def test_a_window_over_all_layers_equals_image_reads_that_are_blocked_everywhere(
    knock_out, sequences, model_and_family, photo
):
    model, family = model_and_family
    image, everything = photo(*SIZE), tokens(family, slice(None))
    table = knock_out({"image": everything}, width=2 * family.layers + 1, rows=["text", "prompt"])
    # all of a question's text behind the image is the prompt, but for the label
    of_all = {"description": "text", "question": "prompt"}
    for outcome, sequence in sequences.items():
        if family.attention_pattern == "causal" and len(family.grid(*SIZE).tiles) == 1:
            logs = blocked_pass(model, family, sequence, image)
        else:
            # block_image_reads would also change what the image sees of the prompt, or the text
            # between tiles
            heads = torch.ones(family.layers, family.heads, dtype=torch.bool)
            inputs = plain_inputs(family, image, sequence)
            intervention = Intervention(heads)
            logs = intervened_pass(model, family, sequence, inputs, intervention, "renormalise")
        rows = table[(table["outcome"] == outcome) & (table["rows"] == of_all[outcome])]
        assert rows["layer"].tolist() == list(range(family.layers))
        for _, row in rows.iterrows():
            assert_says(row, columns_of(family, family.grid(*SIZE), outcome, sequence, logs))


@pytest.mark.parametrize("variant", ["renormalise", "mean"])
def test_a_window_in_the_middle_equals_passes_with_hooks(
    knock_out, sequences, model_and_family, photo, variant
):
    model, family = model_and_family
    grid, mask = family.grid(*SIZE), tokens(family, [1, 2, 5])
    table = knock_out(
        {"image": ~tokens(family, []), "object": mask},
        width=3,
        rows=["description", "last", "prompt"],
        variant=variant,
    )
    heads = torch.zeros(family.layers, family.heads, dtype=torch.bool)
    heads[1:4] = True
    for outcome, names in (("description", ["description", "last"]), ("question", ["prompt"])):
        sequence = sequences[outcome]
        branch = torch.tensor(branch_tokens(family, sequence))
        for rows in names:
            begins, ends = {
                "description": (sequence.start - 1, len(sequence.ids)),
                "last": (sequence.start - 1, sequence.start),
                "prompt": (0, sequence.start),
            }[rows]
            lost = (branch >= begins) & (branch < ends)
            intervention = Intervention(heads, lost, torch.from_numpy(mask))
            inputs = plain_inputs(family, photo(*SIZE), sequence)
            logs = intervened_pass(model, family, sequence, inputs, intervention, variant)
            (row,) = table[
                (table["outcome"] == outcome)
                & (table["rows"] == rows)
                & (table["source"] == "object")
                & (table["layer"] == 2)
            ].to_dict("records")
            assert_says(row, columns_of(family, grid, outcome, sequence, logs))
            assert row["image_tokens"] == 3


def test_every_knockout_has_a_row_and_batches_change_nothing(knock_out, model_and_family):
    _, family = model_and_family
    sources = {"object": tokens(family, [0]), "image": tokens(family, slice(None))}
    rows = ["description", "prompt", "last"]
    table, small = (knock_out(sources, width=3, rows=rows, batch=b) for b in (64, 5))
    counts = table.groupby("outcome").size()
    assert counts["description"] == 1 + 3 * 2 * family.layers
    assert counts["question"] == 1 + 2 * 2 * family.layers
    assert not table.duplicated(["outcome", "rows", "source", "layer"]).any()
    assert set(table.loc[table["outcome"] == "question", "answer"]) == {"B"}
    values = ["log_probability", *(f"log_{label}" for label in LABELS)]
    np.testing.assert_allclose(small[values].astype(float), table[values].astype(float), atol=2e-5)
    assert (small["passes"] > table["passes"]).any()  # a prefix is shared by fewer


def test_an_outcome_that_is_not_asked_for_has_no_row(knock_out, model_and_family):
    _, family = model_and_family
    sources = {"image": tokens(family, slice(None))}
    table = knock_out(sources, width=3, rows=["last"], outcomes=["question"])
    assert set(table["outcome"]) == {"question"} and table["log_probability"].isna().all()


def test_a_value_that_is_not_finite_is_named(knock_out, model_and_family, monkeypatch):
    _, family = model_and_family
    nan = torch.full((family.grid(*SIZE).tokens, 1), torch.nan)
    features = type(family).features
    monkeypatch.setattr(type(family), "features", lambda *a: [nan + features(*a)[0]])
    with pytest.raises(NotFiniteError, match=r"sample 3 .*: a log-probability is not finite"):
        knock_out({"image": tokens(family, [0])}, width=3, rows=["last"])
