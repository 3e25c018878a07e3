"""SmolVLM2: image and prompt are those of Idefics3, as which SmolVLM's first version is stored."""

from headimpact.models.idefics3 import Idefics3


class SmolVLM(Idefics3):
    model_type = "smolvlm"
