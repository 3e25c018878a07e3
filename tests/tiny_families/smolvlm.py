"""SmolVLM2: tiles of 36 pixels and the whole image, 3 x 3 tokens each."""

from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration
from transformers.models.smolvlm import processing_smolvlm
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from headimpact.miniature.tokenizers import make_tokenizer
from headimpact.models.smolvlm import SmolVLM
from tiny_families import NO_VIDEOS, text_config

PROCESSOR_SETTINGS = [{"do_image_splitting": False}]

VISION = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 4,
    "image_size": 36,
    "initializer_range": 0.1,
}
PROCESSOR = {"size": {"longest_edge": 108}, "max_image_size": {"longest_edge": 36}}
PUBLISHED_IMAGES = [  # of 256M and 500M, and of 2.2B
    (
        {
            "vision": {"image_size": 512, "patch_size": 16},
            "processor": {
                "size": {"longest_edge": 2048},
                "max_image_size": {"longest_edge": 512},
            },
            "scale_factor": 4,
        },
        [832, 1088, 832, 832],
    ),
    (
        {
            "vision": {"image_size": 384, "patch_size": 14},
            "processor": {
                "size": {"longest_edge": 1536},
                "max_image_size": {"longest_edge": 384},
            },
            "scale_factor": 3,
        },
        [1053, 1377, 1053, 1053],
    ),
]


def own_processor(family, monkeypatch):
    # without this package, which it needs for videos alone, it refuses to start
    monkeypatch.setattr(processing_smolvlm, "num2words", str)
    return processing_smolvlm.SmolVLMProcessor(
        family.image_processor, family.tokenizer, NO_VIDEOS, image_seq_len=9
    )


def make(vision=(), processor=(), scale_factor=3):
    tokenizer = make_tokenizer("idefics3")
    config = SmolVLMConfig(
        text_config=text_config(tokenizer, model_type="llama"),
        vision_config=VISION | dict(vision),
        scale_factor=scale_factor,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    processor = SmolVLMImageProcessorPil(**PROCESSOR | dict(processor))
    return SmolVLMForConditionalGeneration(config), SmolVLM(config, tokenizer, processor)
