# How often Snakemake selects jobs.


def lift_default_job_limit():
    """Let Snakemake select jobs when one has finished, and at no other time.

    Its default limit, 100 jobs a second, is checked by a timer that looks at all ready jobs and
    starts the next timer, and every job that finishes adds one: after hundreds of jobs Snakemake
    itself takes a large part of a core. A limit that a command line or a profile sets stays.
    """
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None
