# What goes before all else: this checkout's package, and a config.yaml without code in it.

import sys
from pathlib import Path

# whatever else is installed
sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from headimpact.config import check_yaml


def stop(message):
    """End the run with one line."""
    sys.exit(" ".join(str(message).splitlines()))


if Path("config.yaml").is_file():
    try:
        check_yaml(Path("config.yaml").read_bytes())
    except (ValueError, OSError) as error:
        stop(error)
