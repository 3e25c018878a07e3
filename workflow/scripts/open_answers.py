"""Opens the answers of every model and run, beside the questions that they answer."""

from headimpact import artifacts


def open_answers(job):
    """{title of the model: {(setup, variant, draw): answers joined with questions}}.

    Of a rule whose inputs are `answers_of_runs` and the questions, and whose params are titles and
    runs.
    """
    questions = artifacts.read(job.input.questions, "questions")
    files = iter(job.input.answers)
    return {
        title: {
            tuple(run): artifacts.read(next(files), "answers").merge(questions, on="object_id")
            for run in job.params.runs
        }
        for title in job.params.titles
    }
