"""Opens the layers of every model, setup and draw."""

import json
from pathlib import Path


def open_layers(job):
    """{title of the model: {(setup, draw): layers}}, of a rule whose input is `layers_of_draws`."""
    files = iter(job.input.layers)
    return {
        title: {
            (setup, draw): json.loads(Path(next(files)).read_bytes())["layers"]
            for setup, draw in job.params.draws
        }
        for title in job.params.titles
    }
