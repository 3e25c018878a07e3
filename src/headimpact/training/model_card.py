"""The README of an adapter: what it adapts, how it was trained, and how to make it again."""

CARD = """---
base_model: {base}
library_name: peft
tags: [headimpact, {method}]
---

# {study}, {setup}: an adapter of {base}

| what | value |
| --- | --- |
| base model | {base}{revision} |
| adapted decoder layers | {layers} |
| chosen by | {choice} |
| method | {method}: {options} |
| training | {training} |
| data | {data} |
| validation perplexity | {perplexity:.4f}, at epoch {epoch} of {epochs} |

It was trained to describe objects in pictures, on the descriptions' tokens alone. What it then says
of the test items is in `results/{study}/table4_draws.csv`. Made by

```
snakemake --cores 4 {path}
```

and loaded by

```python
from peft import PeftModel

model = PeftModel.from_pretrained(model, "{path}")  # model: {base}
```
"""


def model_card(
    path: str, wildcards: dict, identity: dict, choice: dict, record: dict, data: str
) -> str:
    """The Markdown of a model card.

    path: the adapter's folder. wildcards: study, setup. identity: checkpoint, revision and, of a
    hub checkpoint, commit. choice: what layers.json holds. record: method, training and history,
    as in history.json. data: what it was trained on.
    """
    best = min(record["history"], key=lambda epoch: epoch["perplexity"])
    revision = identity.get("commit") or identity.get("revision")
    chosen = choice["choice"]
    if "by" in choice:
        chosen += f", by the score {choice['by']}"
    if "to" in choice["options"]:
        chosen += f" to {choice['options']['to']}"
    return CARD.format(
        base=identity["checkpoint"],
        revision=f" at {revision}" if revision else "",
        method=record["method"]["kind"],
        options=_listed(record["method"]["options"]),
        study=wildcards["study"],
        setup=wildcards["setup"],
        layers=", ".join(map(str, record["layers"])),
        choice=chosen,
        training=_listed(record["training"]),
        data=data,
        perplexity=best["perplexity"],
        epoch=best["epoch"],
        epochs=len(record["history"]),
        path=path,
    )


def _listed(values: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
