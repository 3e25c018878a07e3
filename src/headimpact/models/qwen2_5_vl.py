"""Qwen2.5-VL: tokens, positions and prompt are those of Qwen2-VL."""

from headimpact.models.qwen2_vl import Qwen2VL


class Qwen25VL(Qwen2VL):
    model_type = "qwen2_5_vl"
