"""Small random Florence-2 and SAM2 checkpoints in the hub's layout."""

import itertools
import json
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import (
    BartTokenizer,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    Sam2Config,
    Sam2Model,
    Sam2VideoConfig,
    Sam2VideoModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

NOUNS = ("cat", "dog", "bird", "horse"), ("boat", "train", "kite"), ("tree", "hat"), ("cup", "bed")
MEMORY = {  # the video model's own
    "image_size": 128,
    "memory_attention_rope_feat_sizes": [8, 8],
    "memory_attention_num_layers": 1,
    "memory_attention_hidden_size": 32,
    "memory_attention_feed_forward_hidden_size": 32,
    "memory_encoder_hidden_size": 32,
    "memory_encoder_output_channels": 16,
    "mask_downsampler_embed_dim": 32,
    "memory_fuser_num_layers": 1,
    "memory_fuser_embed_dim": 32,
    "memory_fuser_intermediate_dim": 32,
}
CORNERS = (60, 61, 562, 563)  # the lowest location of x0, y0, x1, y1


def _tokenizer():
    """Byte-level BPE as in Bart: bytes, a token a noun, the locations and the image token."""
    merges = []
    for noun in itertools.chain(*NOUNS):
        merges += [("Ġ" + noun[:end], noun[end]) for end in range(len(noun))]
    merges = list(dict.fromkeys(merges))
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, merges)]
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *pieces, "<mask>"]
    return BartTokenizer(
        vocab={piece: number for number, piece in enumerate(vocabulary)},
        merges=merges,
        extra_special_tokens=[f"<loc_{number}>" for number in range(1000)],
        image_token="<image>",
    )


def _order(tokenizer):
    """The sequence_bias under which the generated text can be parsed: a list of [ids, bias].

    Up to four boxes, each with or without a noun before it, no token twice.
    """
    ids = tokenizer.convert_tokens_to_ids
    favour = {ids("</s>"): 2.0} | {ids("Ġ" + noun): 1.0 for noun in itertools.chain(*NOUNS)}
    ends, pairs = ["<s>"], []
    for number, nouns in enumerate(NOUNS):
        nouns = ["Ġ" + noun for noun in nouns]
        slots = [[f"<loc_{low + 4 * number + 40 * i}>" for i in range(6)] for low in CORNERS]
        pairs += itertools.product(ends, nouns)
        if number:
            pairs += [*itertools.product(ends, slots[0]), *itertools.product(ends, ["</s>"])]
        for before, after in itertools.pairwise([nouns, *slots]):
            pairs += itertools.product(before, after)
        ends = slots[-1]
    pairs += itertools.product(ends, ["</s>"])
    pairs = [[ids(before), ids(after)] for before, after in pairs]
    return [[pair, 30.0 + favour.get(pair[1], 0.0)] for pair in pairs]


def save_florence2(folder: str | Path, seed: int = 0) -> None:
    """Florence-2 for images of 64 x 64: 4 image tokens and their mean; random weights.

    Random weights alone generate text that cannot be parsed. The sequence_bias of the checkpoint's
    generation config prescribes the order of nouns and locations; the weights decide from image
    and caption which of them are generated, and how many.
    """
    tokenizer = _tokenizer()
    vision = {
        "depths": [1, 1, 1, 1],
        "embed_dim": [4, 8, 16, 32],
        "num_heads": [1, 1, 2, 2],
        "num_groups": [1, 1, 2, 2],
        "window_size": 4,
        "projection_dim": 32,
        "max_temporal_embeddings": 2,
        "max_position_embeddings": 4,
        "initializer_range": 0.2,
    }
    text = {
        "model_type": "bart",
        "vocab_size": len(tokenizer),
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "init_std": 0.2,
    }
    config = Florence2Config(
        vision_config=vision, text_config=text, image_token_id=tokenizer.image_token_id
    )
    torch.manual_seed(seed)
    model = Florence2ForConditionalGeneration(config)
    model.generation_config.forced_bos_token_id = tokenizer.bos_token_id
    model.generation_config.sequence_bias = _order(tokenizer)
    images = CLIPImageProcessorPil(
        size={"height": 64, "width": 64}, do_center_crop=False, image_seq_length=5
    )
    parsing = {"phrase_grounding": {"banned_grounding_tokens": ["it", "the image"]}}
    processor = Florence2Processor(images, tokenizer, post_processor_config=parsing)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def sam2_configurations() -> dict:
    """The configurations of a small SAM2's components, for images of 128 x 128."""
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "image_size": [128, 128],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [4, 4, 4, 2],
        "window_positional_embedding_background_size": [2, 2],
        "global_attention_blocks": [3],
        "initializer_range": 0.2,
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "fpn_hidden_size": 32,
        "initializer_range": 0.2,
    }
    prompt = {"hidden_size": 32, "image_size": 128, "mask_input_channels": 4}
    decoder = {
        "hidden_size": 32,
        "mlp_dim": 64,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 32,
    }
    return {
        "vision_config": vision,
        "prompt_encoder_config": prompt,
        "mask_decoder_config": decoder,
        "initializer_range": 0.2,
    }


def save_sam2(folder: str | Path, video: bool = False, seed: int = 0) -> None:
    """SAM2 for images of 128 x 128 with random weights; most confidences lie above 0.85, not all.

    video: write the weights as the video model's, which is what the hub has.
    """
    torch.manual_seed(seed)
    config = (
        Sam2VideoConfig(**sam2_configurations(), **MEMORY)
        if video
        else Sam2Config(**sam2_configurations())
    )
    model = (Sam2VideoModel if video else Sam2Model)(config)
    head = model.mask_decoder.iou_prediction_head.proj_out
    with torch.no_grad():
        head.weight *= 8
        head.bias.fill_(1.2)
    model.save_pretrained(folder)
    recipe = {
        "image_processor_type": "Sam2ImageProcessorFast",
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "size": {"height": 128, "width": 128},
    }
    (Path(folder) / "preprocessor_config.json").write_text(json.dumps(recipe))
