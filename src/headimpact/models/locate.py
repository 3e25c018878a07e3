"""Where a model of a study lies; apart, so that how it was fetched changes no result's code."""

from headimpact.checkpoints import check_sums
from headimpact.fetch.hub import fetched_folder
from headimpact.models.load import device_of, dtype_of


def locate(entry, fetched=None):
    """The folder of one model of a study, and what tells it from any other (dict).

    entry: checkpoint (a folder or a hub id), revision, digest, dtype and device. fetched: for a
    hub id, the file that tells what was fetched. "auto" is resolved to this machine's dtype and
    device, a hub's revision to its commit. Raises ValueError if the checkpoint is not there, or is
    not what its folder's SHA256SUMS says.
    """
    device = device_of(entry["device"])
    identity = {**entry, "device": device, "dtype": dtype_of(entry["dtype"], device)}
    if not fetched:
        check_sums(entry["checkpoint"])
        return entry["checkpoint"], identity
    folder, identity["commit"] = fetched_folder(fetched)
    return str(folder), identity
