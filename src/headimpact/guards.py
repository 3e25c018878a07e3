"""What ends a job with a line for the user: bad input, a full GPU, values that are not finite."""

import errno
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class UserError(ValueError):
    """An error that its one line explains: where it is, what it is, what to do about it."""

    def __init__(self, message: object):
        super().__init__(" ".join(line.strip() for line in str(message).splitlines()))


class UnavailableError(UserError, OSError):
    """Something that is asked of the network cannot be had."""


class NotFiniteError(UserError, FloatingPointError):
    """A value of the model, a loss or a gradient is not finite."""


class OutOfMemoryError(UserError, MemoryError):
    """Not even one item fits into the GPU's memory."""


@contextmanager
def naming_image(image) -> Iterator[None]:
    """Within it, a NotFiniteError begins with the name of the image, an EncodedImage."""
    try:
        yield
    except NotFiniteError as error:
        raise NotFiniteError(f"{image.name}: {error}") from error


def explain(error: BaseException, output: str) -> str | None:
    """The line (str) that tells a user of an `error`, or None if it is a fault of the program.

    output: the file that the job writes, named where the disk is full.
    """
    # safetensors raises an error of its own, without a number
    if getattr(error, "errno", None) in DISK_FULL or "(os error 28)" in str(error):
        return f"no room on the disk for {output}; make room, and run the same command again"
    if type(error).__name__ == "OutOfMemoryError" and not isinstance(error, UserError):
        return "the GPU has too little memory; take a larger one, or dtype: bfloat16"
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return "not enough memory; run it on a machine with more"
    return None


def has_gpu() -> bool:
    """Whether this machine has a GPU's driver, NVIDIA's or AMD's; torch is not asked."""
    return shutil.which("nvidia-smi") is not None or Path("/dev/kfd").exists()


class AdaptiveBatch:
    """Runs a function over items in micro-batches, halved whenever CUDA runs out of memory.

    size: items of a micro-batch to begin with. name: who reports a halving in the log.
    """

    def __init__(self, size: int, name: str):
        self.size, self.name = size, name

    def __call__(self, run, items: list) -> list:
        """The results of `run` for consecutive lists of at most `size` items.

        After a halving all items are run again. Raises OutOfMemoryError if a single item does
        not fit.
        """
        import torch

        while True:
            try:
                return [run(items[i : i + self.size]) for i in range(0, len(items), self.size)]
            except torch.OutOfMemoryError:
                if self.size == 1:
                    raise OutOfMemoryError(
                        f"{self.name}: the GPU has too little memory for a single item; take a "
                        f"larger GPU, a smaller dtype or device: cpu"
                    ) from None
                self.size = -(-min(self.size, len(items)) // 2)
            # outside the handler, which holds a reference to every tensor of the failed run
            torch.cuda.empty_cache()
            print(
                f"{self.name}: the GPU is out of memory, continuing with batches of {self.size}",
                file=sys.stderr,
            )


def first_nonfinite_layer(layers, forward) -> str:
    """Where `forward()` first yields a value that is not finite, as text for an error.

    layers: the decoder layers (ModuleList) that `forward`, a function without arguments, runs.
    """
    import torch

    places = []

    def check(place, hidden_states):
        if not torch.isfinite(hidden_states).all():
            places.append(place)

    def check_input(_layer, arguments):
        check("before layer 0", arguments[0])

    def check_output(number):
        def hook(_layer, _arguments, output):
            check(f"in layer {number}", output[0] if isinstance(output, tuple) else output)

        return hook

    hooks = [layers[0].register_forward_pre_hook(check_input)]
    hooks += [layer.register_forward_hook(check_output(n)) for n, layer in enumerate(layers)]
    try:
        with torch.no_grad():
            forward()
    finally:
        for hook in hooks:
            hook.remove()
    return places[0] if places else "after the last layer"
