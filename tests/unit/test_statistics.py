import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from headimpact.statistics import clustered_error, kruskal, perplexity

VALUES = st.lists(st.floats(-100, 100), min_size=2, max_size=30)


@given(VALUES)
def test_one_value_a_cluster_is_the_usual_error(values):
    usual = np.std(values, ddof=1) / np.sqrt(len(values))
    assert clustered_error(values, range(len(values))) == pytest.approx(usual, abs=1e-9)


@given(VALUES, st.integers(2, 5))
def test_repeating_every_value_within_its_cluster_changes_nothing(values, times):
    once = clustered_error(values, range(len(values)))
    again = clustered_error(np.repeat(values, times), np.repeat(range(len(values)), times))
    assert again == pytest.approx(once, abs=1e-9)


def test_clustered_by_hand():
    # mean 2; residual sums of the clusters: (1-2)+(1-2) = -2, (2-2)+(4-2) = 2
    assert clustered_error([1, 1, 2, 4], [0, 0, 1, 1]) == pytest.approx(np.sqrt(8 * 2) / 4)


def test_one_cluster_has_no_error():
    assert np.isnan(clustered_error([1.0, 2.0], [7, 7]))
    # residuals that do not sum to 0 in the last bit
    assert np.isnan(clustered_error([0.1, 0.2, 0.4], [7, 7, 7]))


def test_perplexity_by_hand():
    # losses a token 1 and 3: exp(2); error of the mean is sqrt(2)/sqrt(2) = 1
    value, error = perplexity([1.0, 3.0], [0, 1])
    assert (value, error) == (pytest.approx(np.exp(2)), pytest.approx(np.exp(2)))


def test_kruskal_against_ranks_by_hand():
    # layers (1, 2) and (3, 4): rank sums 3 and 7; 12/(4*5) * (9/2 + 49/2) - 3*5 = 2.4
    tests = kruskal([[1.0, 2.0], [3.0, 4.0]])
    assert tests["layers"]["statistic"] == pytest.approx(2.4)
    assert tests["layers"]["p_value"] == pytest.approx(scipy.stats.chi2.sf(2.4, 1))
    # heads (1, 3) and (2, 4): rank sums 4 and 6; 12/20 * (16/2 + 36/2) - 15 = 0.6
    assert tests["heads"]["statistic"] == pytest.approx(0.6)


@pytest.mark.filterwarnings("error")
def test_equal_values_have_no_test():
    assert np.isnan(kruskal(np.ones((3, 4)))["layers"]["p_value"])


@pytest.mark.parametrize(("shape", "alone"), [((1, 4), "layers"), ((4, 1), "heads")])
def test_one_group_has_no_test(shape, alone):
    test = kruskal(np.arange(4.0).reshape(shape))[alone]
    assert np.isnan(test["statistic"]) and np.isnan(test["p_value"])
    assert test["degrees_of_freedom"] == 0


# as printed in Table 2: (heading, groups, statistic, p-value)
PRINTED = [
    ("PaliGemma2", "layers", 92.93, 3.62e-9),
    ("PaliGemma2", "heads", 12.94, 0.30),
    ("Qwen2-VL", "layers", 103.56, 3.40e-12),
    ("Qwen2-VL", "heads", 31.86, 0.42),
    ("SmolVLM", "layers", 75.28, 6.15e-7),
    ("SmolVLM", "heads", 6.81, 0.449),
]
SHAPES = {"PaliGemma2": (26, 8), "Qwen2-VL": (28, 12), "SmolVLM": (24, 32)}
WHOSE = {"PaliGemma2": "Qwen2-VL", "Qwen2-VL": "SmolVLM", "SmolVLM": "PaliGemma2"}


@pytest.mark.parametrize(("heading", "groups", "statistic", "printed"), PRINTED)
def test_the_papers_columns_are_permuted(heading, groups, statistic, printed):
    """The degrees of freedom behind each printed p-value name the model that it belongs to."""

    def tail(model):
        layers, heads = SHAPES[model]
        return scipy.stats.chi2.sf(statistic, (layers if groups == "layers" else heads) - 1)

    fits = [model for model in SHAPES if tail(model) == pytest.approx(printed, rel=0.02)]
    assert fits == [WHOSE[heading]]
