# Before config.yaml is read: this checkout's package, and a check that the file is plain YAML.

import sys
from pathlib import Path

# this checkout's package, whatever else is installed
sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from headimpact.guards import UserError
from headimpact.study.config import check_yaml


def stop(message):
    """End the run with one line."""
    sys.exit(" ".join(str(message).split()))


if Path("config.yaml").is_file():
    try:
        check_yaml(Path("config.yaml").read_bytes())
    except (UserError, OSError) as error:
        stop(error)
