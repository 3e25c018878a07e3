"""Opens a checkpoint: a folder of the user's, or what was fetched from the hub."""

from headimpact import checkpoints
from headimpact.fetch.hub import fetched_folder


def find_checkpoint(data, record=None):
    """The folder of a checkpoint (str) and its identity (dict); its files are not verified.

    data: what the rule's params say of it. record: for a hub id, the file that says which commit
    was fetched.
    """
    if record:
        folder, commit = fetched_folder(record)
        return str(folder), {**data, "commit": commit}
    return data["checkpoint"], data


def open_checkpoint(data, record=None):
    """The same, of a folder that is held against its SHA256SUMS, if it has one."""
    folder, identity = find_checkpoint(data, record)
    if not record:
        checkpoints.check_sums(folder)
    return folder, identity
