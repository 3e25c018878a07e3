"""Opens what the head scores of a model are computed from."""

from headimpact import artifacts
from headimpact.scores.inputs import ScoreInputs


def open_score_inputs(job, title=None):
    """The ScoreInputs of a model, with its tokens and attention if the job's rule has these.

    title: which model, for a rule whose inputs are the tokens and attention of all `titles`. One
    model is opened at a call, since the attention of all may not fit in memory.
    """
    tokens, attention = job.input.get("tokens"), job.input.get("attention")
    interventions = job.input.get("interventions")
    knockouts = job.input.get("knockouts")
    if title is not None:
        titles = job.params.titles
        number, shards = titles.index(title), len(attention) // len(titles)
        tokens, attention = tokens[number], attention[number * shards : (number + 1) * shards]
    return ScoreInputs(
        samples=job.samples("impact"),
        objects=job.objects(),
        tokens=artifacts.read(tokens, "tokens") if tokens else None,
        attention=artifacts.read_all(attention, "attention") if attention else None,
        interventions=artifacts.read_all(interventions, "interventions") if interventions else None,
        knockouts=artifacts.read_all(knockouts, "knockouts") if knockouts else None,
    )
