"""Tokenizers of the miniatures: a token for each word of the scenes, else letters and bytes."""

import string

from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerFast

from headimpact.dataset.scenes import COLOURS, RADII, SHAPES
from headimpact.table_kinds import LABELS

CHAT_TEMPLATES = {  # as in the real checkpoints
    "qwen2_vl": (
        "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
        "<|im_start|>{{ message['role'] }}\n"
        "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n"
        "{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' %}"
        "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}"
        "{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "idefics3": (
        "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
        "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
        "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}"
        "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}"
        "<end_of_utterance>\n{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
    ),
}
SPECIAL = {  # besides <pad>, <bos> and <eos>
    "paligemma2": ["<image>"],
    "qwen2_vl": [
        *("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
        *("<|image_pad|>", "<|video_pad|>"),
    ],
    "idefics3": [
        *("<|im_start|>", "<end_of_utterance>", "<image>", "<fake_token_around_image>"),
        *("<global-img>", *(f"<row_{r}_col_{c}>" for r in (1, 2, 3) for c in (1, 2, 3))),
    ],
}
WORDS = tuple(
    "system user assistant System User Assistant You are a helpful What is this photo This of "  # noqa: SIM905
    "shown in Choose one the options describe answer en and picture that shows front wall here "
    "there which colour size no yes not an with on at to by next large small object".split()
)


def make_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """The tokenizer of one miniature, with its chat template where the family has one."""
    words = [*WORDS, *COLOURS, *RADII, *SHAPES, *LABELS]
    letters = [*string.ascii_letters, *string.digits, *string.punctuation, "\n", " "]
    special = ["<pad>", "<bos>", "<eos>", *SPECIAL[name]]
    pieces = dict.fromkeys(special, 0.0)
    pieces |= {f"<0x{byte:02X}>": -20.0 for byte in range(256)}
    pieces |= dict.fromkeys(letters, -10.0)
    pieces |= dict.fromkeys(words, -1.0)
    tokenizer = Tokenizer(Unigram(list(pieces.items()), unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(" ", "removed"),
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Punctuation("isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.WordPiece("")])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        additional_special_tokens=SPECIAL[name],
        chat_template=CHAT_TEMPLATES.get(name),
    )
