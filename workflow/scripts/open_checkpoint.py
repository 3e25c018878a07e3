"""Opens a checkpoint: a folder of the user's, or what was fetched from the hub."""

from headimpact import checkpoints
from headimpact.fetch.hub import fetched_folder


def open_checkpoint(data, record=None):
    """The folder of a checkpoint (str) and its identity (dict).

    data: what the rule's params say of it. record: for a hub id, the file that says which commit
    was fetched. A folder is held against its SHA256SUMS, if it has one.
    """
    if record:
        folder, commit = fetched_folder(record)
        return str(folder), {**data, "commit": commit}
    checkpoints.check_sums(data["checkpoint"])
    return data["checkpoint"], data
