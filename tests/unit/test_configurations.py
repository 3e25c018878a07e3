"""The shipped configurations of today's checkpoints, and other sizes: parameters, image tokens."""

import json

import pytest
import yaml
from projects import ROOT
from transformers import AutoConfig, AutoImageProcessor

from headimpact.models.load import count_parameters, family_class
from headimpact.study.config import parse_config
from headimpact.training.lora import add_adapter

CONFIGURATIONS = ROOT / "resources/configurations"
STUDIES = parse_config(yaml.safe_load((ROOT / "config.yaml").read_text())).studies
LORA = {"rank": 8, "alpha": 16, "dropout": 0, "targets": ["q_proj", "k_proj", "v_proj"]}
PHOTOGRAPHS = [(640, 480), (640, 640), (200, 145), (427, 640)]
# parameters, as the hub counts them in the checkpoint's weights; layers and heads of the decoder;
# outputs of q_proj, k_proj and v_proj together
SIZES = {
    "qwen2.5-vl-3b-instruct": (3_754_622_976, 36, 16, 2048 + 2 * 256),
    "smolvlm2-500m-video-instruct": (507_482_304, 32, 15, 960 + 2 * 320),
    "qwen3-vl-2b-instruct": (2_127_532_032, 28, 16, 2048 + 2 * 1024),
    "internvl3-1b-hf": (938_193_024, 24, 14, 896 + 2 * 128),
    "llava-1.5-7b-hf": (7_063_427_072, 32, 32, 3 * 4096),
    "gemma-3-4b-it": (4_300_079_472, 34, 8, 2048 + 2 * 1024),
}
# image tokens of PHOTOGRAPHS; how many numbers of pixel_values belong to one token
IMAGE_TOKENS = {
    "qwen2.5-vl-3b-instruct": ([391, 529, 35, 345], 3 * 2 * 28**2),
    "smolvlm2-500m-video-instruct": ([832, 1088, 832, 832], 3 * 64**2),
    "qwen3-vl-2b-instruct": ([300, 400, 70, 260], 3 * 2 * 32**2),
    "internvl3-1b-hf": ([3328, 1280, 3328, 1792], 3 * 28**2),
    "llava-1.5-7b-hf": ([576] * 4, 3 * 14**2),
    "gemma-3-4b-it": ([256] * 4, 3 * 56**2),
}


def check_counts(configuration, parameters, layers, heads, outputs):
    model, counts = count_parameters(configuration)
    assert counts == {"parameters": parameters, "layers": layers, "heads": heads}
    adapted = add_adapter(model, family_class(model.config, configuration), range(4), **LORA)
    trainable, total = adapted.get_nb_trainable_parameters()
    hidden = model.config.get_text_config().hidden_size
    assert trainable == total - parameters == 4 * 8 * (3 * hidden + outputs)


def test_every_model_has_the_configuration_of_its_checkpoint():
    models = STUDIES["today"].models.values()
    assert [m.configuration for m in models] == [
        f"resources/configurations/{m.checkpoint.partition('/')[2].lower()}" for m in models
    ]
    assert [m.configuration.rpartition("/")[2] for m in models] == list(SIZES)


def test_every_configuration_belongs_to_a_model_of_a_study():
    named = [
        m.configuration for s in (STUDIES["paper"], STUDIES["today"]) for m in s.models.values()
    ]
    folders = [path for path in CONFIGURATIONS.iterdir() if path.is_dir()]
    assert sorted(named) == sorted(str(path.relative_to(ROOT)) for path in folders)


# what other checkpoints change in a shipped configuration, by part, and their parameters; those of
# 256M, 2.2B, 7B and 8B, and of InternVL3, are from memory
OTHER_SIZES = {
    "Qwen2.5-VL-7B-Instruct": (
        "qwen2.5-vl-3b-instruct",
        {
            "text_config": {
                **{"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28},
                **{"num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064},
                "tie_word_embeddings": False,
            },
            "vision_config": {"out_hidden_size": 3584},
            "tie_word_embeddings": False,
        },
        8_292_166_656,
    ),
    "SmolVLM2-256M-Video-Instruct": (
        "smolvlm2-500m-video-instruct",
        {
            "text_config": {
                **{"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30},
                **{"num_attention_heads": 9, "num_key_value_heads": 3},
            }
        },
        256_484_928,
    ),
    "SmolVLM2-2.2B-Instruct": (
        "smolvlm2-500m-video-instruct",
        {
            "text_config": {
                **{"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24},
                **{"num_attention_heads": 32, "num_key_value_heads": 32},
            },
            "vision_config": {
                **{"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27},
                **{"num_attention_heads": 16, "image_size": 384, "patch_size": 14},
            },
            "scale_factor": 3,
        },
        2_246_784_880,
    ),
    "Qwen3-VL-4B-Instruct": (
        "qwen3-vl-2b-instruct",
        {
            "text_config": {
                **{"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36},
                "num_attention_heads": 32,
            },
            "vision_config": {"out_hidden_size": 2560},
        },
        4_437_815_808,
    ),
    "Qwen3-VL-8B-Instruct": (
        "qwen3-vl-2b-instruct",
        {
            "text_config": {
                **{"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36},
                **{"num_attention_heads": 32, "tie_word_embeddings": False},
            },
            "vision_config": {
                **{"depth": 27, "hidden_size": 1152, "intermediate_size": 4304},
                **{"out_hidden_size": 4096, "deepstack_visual_indexes": [8, 16, 24]},
            },
            "tie_word_embeddings": False,
        },
        8_767_123_696,
    ),
    "InternVL3-2B-hf": (
        "internvl3-1b-hf",
        {
            "text_config": {
                **{"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28},
                "num_attention_heads": 12,
            }
        },
        2_088_957_440,
    ),
    "InternVL3-8B-hf": (
        "internvl3-1b-hf",
        {
            "text_config": {
                **{"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28},
                **{"num_attention_heads": 28, "num_key_value_heads": 4},
            }
        },
        7_944_373_760,
    ),
    "gemma-3-12b-it": (
        "gemma-3-4b-it",
        {
            "text_config": {
                **{"hidden_size": 3840, "intermediate_size": 15360, "num_hidden_layers": 48},
                **{"num_attention_heads": 16, "num_key_value_heads": 8},
            }
        },
        12_187_325_040,
    ),
}


@pytest.mark.parametrize("name", SIZES)
def test_parameters_are_those_of_the_hub(name):
    check_counts(CONFIGURATIONS / name, *SIZES[name])


@pytest.mark.parametrize("name", OTHER_SIZES)
def test_parameters_of_other_sizes_are_those_of_the_hub(tmp_path, name):
    shipped, changes, parameters = OTHER_SIZES[name]
    configuration = json.loads((CONFIGURATIONS / shipped / "config.json").read_text())
    for part, values in changes.items():
        configuration[part] = configuration[part] | values if "config" in part else values
    (tmp_path / "config.json").write_text(json.dumps(configuration))
    text = configuration["text_config"]
    layers, heads = text["num_hidden_layers"], text["num_attention_heads"]
    head_size = text.get("head_dim", text["hidden_size"] // heads)
    outputs = (heads + 2 * text["num_key_value_heads"]) * head_size
    check_counts(tmp_path, parameters, layers, heads, outputs)


@pytest.mark.parametrize("name", IMAGE_TOKENS)
def test_image_tokens_are_those_of_the_published_image_settings(name, photo):
    config = AutoConfig.from_pretrained(CONFIGURATIONS / name)
    processor = AutoImageProcessor.from_pretrained(CONFIGURATIONS / name, backend="pil")
    family = family_class(config, name)(config, None, processor)
    tokens, numbers = IMAGE_TOKENS[name]
    grids = [family.grid(*size) for size in PHOTOGRAPHS]
    assert [grid.tokens for grid in grids] == tokens
    assert [family.placeholder(grid).count(family.image_text) for grid in grids] == tokens
    pixels = [family.pixels([photo(*size)])["pixel_values"].numel() for size in PHOTOGRAPHS]
    assert pixels == [count * numbers for count in tokens]
