"""SmolVLM2: tiles of 36 pixels and the whole image, 3 x 3 tokens each."""

from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from headimpact.miniature.tokenizers import make_tokenizer
from headimpact.models.smolvlm import SmolVLM
from tiny_families import text_config

PROCESSOR_SETTINGS = [{"do_image_splitting": False}]


def make():
    tokenizer = make_tokenizer("idefics3")
    vision = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "patch_size": 4,
        "image_size": 36,
        "initializer_range": 0.1,
    }
    config = SmolVLMConfig(
        text_config=text_config(tokenizer, model_type="llama"),
        vision_config=vision,
        scale_factor=3,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    processor = SmolVLMImageProcessorPil(
        size={"longest_edge": 108}, max_image_size={"longest_edge": 36}
    )
    return SmolVLMForConditionalGeneration(config), SmolVLM(config, tokenizer, processor)
