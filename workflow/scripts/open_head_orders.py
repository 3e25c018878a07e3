"""Opens the orders of a model's heads, of a rule whose params hold `order_settings`."""

from headimpact import artifacts
from headimpact.scores.head_orders import DEPTH, head_orders, resolve_counts


def open_head_orders(job, paths):
    """{name: orders of the heads}, and how many first heads each point of a curve has.

    paths: the files of the scores of a model, in the order of their titles in the settings.
    """
    settings = dict(job.params.orders)
    titles, head_counts = settings.pop("titles"), settings.pop("head_counts")
    tables = [artifacts.read(path, "scores") for path in paths]
    orders = head_orders(dict(zip(titles, tables, strict=True)), **settings)
    return orders, resolve_counts(head_counts, orders[DEPTH].shape[1])
