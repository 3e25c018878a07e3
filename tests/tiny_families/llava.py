"""LLaVA-1.5: 12 x 12 patches of 4 pixels from the square in the middle of the image."""

from tokenizers import processors
from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from headimpact.models.llava import Llava
from tiny_families import text_config, tokenizer_with

TEMPLATE = (  # a space behind each text, and no BOS before the first
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] + ' ' }}{% endfor %}{% endfor %}"
)
VISION = {
    "model_type": "clip_vision_model",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "patch_size": 4,
    "image_size": 48,
    "initializer_factor": 5.0,
}
PROCESSOR = {"size": {"shortest_edge": 48}, "crop_size": {"height": 48, "width": 48}}
PUBLISHED_IMAGES = [
    (
        {
            "vision": {"patch_size": 14, "image_size": 336},
            "processor": {
                "size": {"shortest_edge": 336},
                "crop_size": {"height": 336, "width": 336},
            },
        },
        [576, 576, 576, 576],
    )
]


def own_processor(family, _monkeypatch):
    return LlavaProcessor(
        family.image_processor,
        family.tokenizer,
        patch_size=family.config.vision_config.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def make(vision=(), processor=()):
    tokenizer = tokenizer_with(["<image>"], TEMPLATE)
    # as Llama's tokenizer, which begins a text with BOS
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
    )
    config = LlavaConfig(
        text_config=text_config(tokenizer, model_type="llama"),
        vision_config=VISION | dict(vision),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    processor = CLIPImageProcessorPil(**PROCESSOR | dict(processor))
    return LlavaForConditionalGeneration(config), Llava(config, tokenizer, processor)
