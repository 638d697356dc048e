"""Networks compiled for the CPU give what torch gives, and report to nobody."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from helpers.core import paths
from helpers.models import compiled
from tests.deploy_run import small_models

CPU = torch.device("cpu")


def small_network(kind):
    (model,) = small_models(1, kind, channels=1)
    images = torch.randn(11, model.spec.in_channels, 32, 32)
    return model, images.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "kind", ["test_resnet", "efficientnet_lite2", "test_convnext", "test_vit", "derived"]
)
def test_in_float32_a_compiled_network_equals_torch_for_any_number_of_images(kind):
    model, images = small_network(kind)
    run = compiled.CompiledNetwork(model, model.embed, "no")
    with torch.no_grad():
        expected = model.embed(images)
    near = {"rtol": 1e-4, "atol": 1e-4 * expected.abs().max().item()}
    torch.testing.assert_close(run(images), expected, **near)
    assert torch.equal(run(images[:3]), run(images)[:3])
    few = compiled.CompiledNetwork(model, model.embed, "no")  # for as many as come at first
    torch.testing.assert_close(few(images[:3]), expected[:3], **near)
    assert (few._batch_size, run._batch_size) == (3, compiled.BATCH_SIZE)


def test_only_many_images_and_networks_of_convolutions_are_worth_it(monkeypatch):
    model, _ = small_network("test_resnet")
    many = compiled.WORTH_IT_FROM
    assert compiled.is_worth_it(model, CPU, many)
    assert not compiled.is_worth_it(model, CPU, many - 1)
    assert not compiled.is_worth_it(model, torch.device("cuda"), many)
    assert not compiled.is_worth_it(model.head, CPU, many)
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name: None)
    assert not compiled.is_worth_it(model, CPU, many)


COMPILED = """
import importlib.util, socket, sys

def noted(*given, **more):  # in a child process too
    with open(sys.argv[1], "a") as log:
        print(given, file=log)
    raise OSError("no network")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = noted
import torch
from torch import nn
from helpers.models import compiled
network = nn.Conv2d(1, 2, 1).eval()
compiled.CompiledNetwork(network, network, "no")(torch.zeros(1, 1, 4, 4))
from openvino.tools.ovc import telemetry_utils
telemetry_utils.init_ovc_telemetry().force_shutdown(5)  # waits for what is being sent
if importlib.util.find_spec("sklearnex"):  # it is not made for all machines
    from helpers.training import classifiers
    forest = classifiers.fastest("ensemble", "RandomForestClassifier")
    # OpenVINO's older TBB came first: the forest fell back to stock scikit-learn, without a word
    assert forest.__module__.startswith("sklearnex."), forest
print("done")
"""


def test_openvino_reports_to_nobody_leaves_no_file_at_home_and_lets_sklearnex_load(tmp_path):
    home, log = tmp_path / "home", tmp_path / "attempts"
    home.mkdir()
    # a machine of a continuous integration is not reported anyway
    marks = ("CI", "TF_BUILD", "JENKINS_URL")
    environment = {name: value for name, value in os.environ.items() if name not in marks}
    environment |= {"HOME": str(home), "PYTHONPATH": str(paths.project_root())}
    command = [sys.executable, "-c", COMPILED, str(log)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.stdout.endswith("done\n"), done.stdout + done.stderr
    assert not log.exists(), log.read_text()
    assert not list(home.iterdir())


def test_an_interrupted_batch_waits_for_the_requests_that_have_started():
    """OpenVINO's threads call Python: if it ended meanwhile, the process aborted after Ctrl-C."""
    network, said = compiled.CompiledNetwork(nn.Identity(), nn.Identity(), "no"), []

    class Queue:
        def set_callback(self, callback):
            pass

        def start_async(self, inputs, number):
            said.append(number)
            if number == 1:
                raise KeyboardInterrupt

        def wait_all(self):
            said.append("waited")

    network._queue = Queue()
    with pytest.raises(KeyboardInterrupt):
        network(torch.zeros(30, 1, 4, 4))
    assert said == [0, 1, "waited"]
