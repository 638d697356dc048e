"""Compile networks with OpenVINO for inference on a CPU, several times as fast as torch.

OpenVINO folds batch norms into convolutions, joins layers, and runs depthwise convolutions in bf16.
The compilation takes seconds: it pays for hundreds of images, not for the validation of an epoch.
"""

import contextlib
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# Maps of small batches stay in the processor's cache: EfficientNet-Lite0 is 1.5 times as fast
# with 8 images as with 64.
BATCH_SIZE = 8
WORTH_IT_FROM = 500  # images; below that the compilation costs more than it saves


class CompiledNetwork:
    """A function of a network in eval mode, (B, C, H, W) -> (B, D), for images of one shape.

    The first call compiles it with the current weights, for the shape and the number of its images,
    at most `BATCH_SIZE` at a time. It computes in bf16 if `precision` says so, else in float32.
    """

    def __init__(
        self, network: nn.Module, function: Callable[[Tensor], Tensor], precision: str
    ) -> None:
        self._network, self._function, self._precision = network, function, precision
        self._queue: Any = None
        self._batch_size = BATCH_SIZE

    def _compile(self, sizes: list[int]) -> Any:
        # OpenVINO reports to an analytics service through the package openvino_telemetry, and
        # writes files into the home folder. If the import fails, it uses a stub that does nothing.
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
        # scikit-learn-intelex does not load after OpenVINO, whose threading library TBB is older.
        with contextlib.suppress(ImportError):
            importlib.import_module("daal4py")
        openvino = importlib.import_module("openvino")
        # tracing warns that sizes become constants, as intended
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = _Traced(self._network, self._function)
            model = openvino.convert_model(module, example_input=torch.zeros(sizes), input=[sizes])
        threads = torch.get_num_threads()
        options = {
            "INFERENCE_PRECISION_HINT": "bf16" if self._precision == "bf16" else "f32",
            # each thread has its own batches, so none waits for another at every layer
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
        }
        network = openvino.Core().compile_model(model, "CPU", options)
        return openvino.AsyncInferQueue(network, threads + 1)  # one request waits

    def __call__(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) float32 to (B, D) float32, for any B."""
        if self._queue is None:
            self._batch_size = min(BATCH_SIZE, len(images))
            self._queue = self._compile([self._batch_size, *images.shape[1:]])
        found: dict[int, np.ndarray] = {}
        # copied, because the next batch reuses the memory of the outputs
        self._queue.set_callback(
            lambda request, part: found.update({part: request.get_output_tensor(0).data.copy()})
        )
        parts = images.split(self._batch_size)
        try:
            for number, part in enumerate(parts):
                pixels = np.zeros((self._batch_size, *part.shape[1:]), dtype=np.float32)
                pixels[: len(part)] = part.numpy()
                self._queue.start_async({0: pixels}, number)
        finally:  # after Ctrl-C too: a callback into Python while it shuts down aborts the process
            self._queue.wait_all()
        outputs = [found[number][: len(part)] for number, part in enumerate(parts)]
        return torch.from_numpy(np.concatenate(outputs))


class _Traced(nn.Module):
    def __init__(self, network: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.function = network, function
        self.training = False  # the network is in eval mode already; its own flags stay

    def forward(self, images: Tensor) -> Tensor:
        """Return the output of the function."""
        return self.function(images)


def is_worth_it(network: nn.Module, device: torch.device, images: int) -> bool:
    """Return True if compiling a network for so many images on this device saves time."""
    return (
        device.type == "cpu"
        and images >= WORTH_IT_FROM
        and any(isinstance(module, nn.Conv2d) for module in network.modules())
        and importlib.util.find_spec("openvino") is not None
    )
