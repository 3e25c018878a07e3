"""The seconds of a score, from the benchmarks of its jobs."""

import pytest

from headimpact.report.job_times import read_benchmarks, score_times

SECONDS = {"m.attention.0": 6.0, "m.attention.1": 4.0, "m.score.a": 1.0, "m.score.b": 19.0}


def times(seconds=SECONDS):
    benchmarks = {job: {"seconds": value} for job, value in seconds.items()}
    attention = ["m.attention.0", "m.attention.1"]
    jobs = {"M": {"A": [*attention, "m.score.a"], "B": ["m.score.b"]}}
    return score_times(benchmarks, jobs, {"M": attention}, images=5).set_index("score")


def test_a_shared_job_counts_for_each_score_and_an_image_is_a_pass():
    assert times().loc["A", ["seconds", "seconds_in_passes"]].tolist() == [11, pytest.approx(5.5)]
    assert times().loc["B", "seconds_in_passes"] == pytest.approx(9.5)


@pytest.mark.parametrize("seconds", [{**SECONDS, "m.score.a": None}, {"m.score.b": 1.0}])
def test_a_job_without_a_time_leaves_its_scores_without_one(seconds):
    assert times(seconds).loc["A"].isna()["seconds"]


def test_the_files_of_snakemake_are_read(tmp_path):
    (tmp_path / "m.score.a.tsv").write_text("s\tmax_rss\n0.5\tNA\n")
    assert read_benchmarks(tmp_path) == {"m.score.a": {"seconds": 0.5, "peak_mb": None}}
