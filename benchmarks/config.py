"""The studies of config.yaml that the benchmarks take their settings from."""

from pathlib import Path

import yaml

from headimpact.study.config import parse_config

_PATH = Path(__file__).parents[1] / "config.yaml"
STUDIES = parse_config(yaml.safe_load(_PATH.read_text(encoding="utf-8"))).studies
MINIATURE, PAPER = STUDIES["miniature"], STUDIES["paper"]
