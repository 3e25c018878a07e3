"""Qwen3-VL: Qwen2-VL's tokens and prompt, with DeepStack.

An image token has a vector for the embeddings, and one more for each of the lowest decoder layers,
which is added to the token's hidden state behind that layer.
"""

import torch
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from headimpact.models.qwen2_vl import Qwen2VL


class Qwen3VL(Qwen2VL):
    model_type = "qwen3_vl"

    @property
    def deepstack_layers(self):
        return len(self.config.vision_config.deepstack_visual_indexes)

    @torch.no_grad()
    def features(self, model, pixels):
        # the vectors of a token side by side, (image tokens, (1 + deepstack layers) x hidden)
        outputs = model.get_image_features(**{n: t.to(model.device) for n, t in pixels.items()})
        vectors = zip(outputs.pooler_output, *outputs.deepstack_features, strict=True)
        return [torch.cat(image, -1) for image in vectors]

    def encoder_outputs(self, features):
        vectors = [image.chunk(1 + self.deepstack_layers, -1) for image in features]
        pooler_output, *deepstack = map(list, zip(*vectors, strict=True))
        outputs = BaseModelOutputWithDeepstackFeatures(
            pooler_output=pooler_output, deepstack_features=deepstack
        )
        return {"image": outputs}
