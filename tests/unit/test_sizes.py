"""The paper's models counted from their configurations, and other sizes of the same families."""

import json
from pathlib import Path

import pytest

from headimpact import registry
from headimpact.guards import UserError
from headimpact.models.load import count_parameters, family_class
from headimpact.report.published import read
from headimpact.study.keys import PUBLISHED_MODELS
from headimpact.study.study import PUBLISHED_SETUPS
from headimpact.training.lora import add_adapter

CONFIGURATIONS = Path(__file__).parents[2] / "resources/configurations"
LORA = {"rank": 8, "alpha": 16, "dropout": 0, "targets": ["q_proj", "k_proj", "v_proj"]}


def counts(configuration, layers):
    model, sizes = count_parameters(configuration)
    adapted = add_adapter(model, family_class(model.config, configuration), layers, **LORA)
    trainable, total = adapted.get_nb_trainable_parameters()
    return sizes, total, trainable


@pytest.mark.parametrize(
    ("name", "layers", "sizes", "total", "trainable"),
    [  # section 5.3: the top-4 layers of Table 3; Tables 1 and 5
        (
            "paligemma2-3b-mix-448",
            [6, 8, 9, 11],
            {"parameters": 3_033_127_152, "layers": 26, "heads": 8},
            3_033_479_408,
            352_256,
        ),
        (
            "qwen2-vl-2b-instruct",
            [17, 22, 26, 27],
            {"parameters": 2_208_985_600, "layers": 28, "heads": 12},
            2_209_198_592,
            212_992,
        ),
        (
            "smolvlm-instruct",
            [0, 15, 16, 18],
            {"parameters": 2_246_272_880, "layers": 24, "heads": 32},
            2_246_666_096,
            393_216,
        ),
    ],
)
def test_the_papers_models_have_its_counts(name, layers, sizes, total, trainable):
    assert counts(CONFIGURATIONS / name, layers) == (sizes, total, trainable)


# as the hub has them; the first in the flat form that older checkpoints keep
OTHER_SIZES = {
    "Qwen2-VL-7B-Instruct": {
        "model_type": "qwen2_vl",
        **{"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28},
        **{"num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064},
        "tie_word_embeddings": False,
        "rope_theta": 1000000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "vision_config": {
            **{"depth": 32, "embed_dim": 1280, "hidden_size": 3584, "num_heads": 16},
            **{"mlp_ratio": 4, "patch_size": 14, "spatial_merge_size": 2},
        },
    },
    "paligemma2-10b-mix-448": {
        "model_type": "paligemma",
        **{"projection_dim": 3584, "hidden_size": 2304},
        "text_config": {
            "model_type": "gemma2",
            **{"hidden_size": 3584, "intermediate_size": 14336, "num_hidden_layers": 42},
            **{"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256},
            "vocab_size": 257216,
        },
        "vision_config": {
            "model_type": "siglip_vision_model",
            **{"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27},
            **{"num_attention_heads": 16, "patch_size": 14, "image_size": 448},
            **{"projection_dim": 3584, "vision_use_head": False},
        },
    },
    "SmolVLM-500M-Instruct": {
        "model_type": "idefics3",
        **{"scale_factor": 4, "tie_word_embeddings": False},
        "text_config": {
            "model_type": "llama",
            **{"hidden_size": 960, "intermediate_size": 2560, "num_hidden_layers": 32},
            **{"num_attention_heads": 15, "num_key_value_heads": 5, "head_dim": 64},
            "vocab_size": 49280,
        },
        "vision_config": {
            **{"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12},
            **{"num_attention_heads": 12, "patch_size": 16, "image_size": 512},
        },
    },
}
# billions of parameters; layers and heads of the decoder
COUNTS = {
    "Qwen2-VL-7B-Instruct": (8.29, 28, 28),
    "paligemma2-10b-mix-448": (9.66, 42, 16),
    "SmolVLM-500M-Instruct": (0.51, 32, 15),
}


@pytest.mark.parametrize("name", OTHER_SIZES)
def test_other_sizes_need_no_code(tmp_path, name):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(OTHER_SIZES[name]))
    sizes, _, trainable = counts(path, range(4))
    billions = round(sizes["parameters"] / 1e9, 2)
    assert (billions, sizes["layers"], sizes["heads"]) == COUNTS[name]
    text = OTHER_SIZES[name].get("text_config", OTHER_SIZES[name])
    head = text.get("head_dim", text["hidden_size"] // text["num_attention_heads"])
    widths = (text["num_attention_heads"] + 2 * text["num_key_value_heads"]) * head
    assert trainable == 4 * 8 * (3 * text["hidden_size"] + widths)


def test_the_published_models_and_setups_of_the_configuration_are_those_of_table3():
    published = read(CONFIGURATIONS.parent / "published", "table3")
    assert set(PUBLISHED_SETUPS) == set(published["setup"])
    assert list(PUBLISHED_MODELS) == list(published["model"].unique())


@pytest.mark.parametrize("name", registry.FAMILIES)
def test_the_registry_knows_a_familys_model_type_and_prompt(name):
    entry = registry.FAMILIES[name]
    family = entry.load()
    assert family.model_type in entry.model_types
    assert registry.family_of(family.model_type) == name
    assert entry.chat == (family.prompts == "chat")


def test_a_model_of_no_family_is_named(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "bert"}))
    known = ", ".join(sorted(t for e in registry.FAMILIES.values() for t in e.model_types))
    with pytest.raises(UserError, match=f"bert is not one of {known};") as error:
        count_parameters(path)
    assert str(error.value).startswith(f"{path}: ")
