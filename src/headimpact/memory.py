"""A GPU's memory: as many at once as it holds."""

import sys

import torch


class Room:
    """Runs something in parts, which are halved as often as a GPU has too little memory for one.

    most: how many at once, to begin with. what: who says so in the log.
    """

    def __init__(self, most, what):
        self.most, self.what = most, what

    def __call__(self, run, items):
        """What `run` gives for lists of at most `most` of `items`, in a list.

        All of it is run again after a halving. Raises MemoryError if one alone is too many.
        """
        while True:
            try:
                return [run(items[i : i + self.most]) for i in range(0, len(items), self.most)]
            except torch.OutOfMemoryError:
                if self.most == 1:
                    raise MemoryError(
                        f"{self.what}: the GPU has too little memory for a single one; take a "
                        f"larger GPU, a smaller dtype or device: cpu"
                    ) from None
                self.most = -(-min(self.most, len(items)) // 2)
            # behind the handler, which holds on to all tensors of what failed
            torch.cuda.empty_cache()
            print(
                f"{self.what}: the GPU is out of memory, on with {self.most} at a time",
                file=sys.stderr,
            )
