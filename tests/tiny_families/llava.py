"""LLaVA-1.5: 8 x 8 patches of 6 pixels; the middle square of the image, without the class token."""

from tokenizers import processors
from transformers import LlavaConfig, LlavaForConditionalGeneration
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from headimpact.models.llava import Llava
from tiny_families import text_config, tokenizer_with

TEMPLATE = (  # each text ends with a space, and no BOS begins the conversation
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] + ' ' }}{% endfor %}{% endfor %}"
)


def make():
    tokenizer = tokenizer_with(["<image>"], TEMPLATE)
    # as Llama's tokenizer, which begins every text with BOS
    bos = ("<bos>", tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[bos]
    )
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "patch_size": 6,
        "image_size": 48,
        "initializer_factor": 5.0,
    }
    config = LlavaConfig(
        text_config=text_config(tokenizer, model_type="llama"),
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=64,
    )
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48}
    )
    return LlavaForConditionalGeneration(config), Llava(config, tokenizer, processor)
