"""The command that trains on several GPUs, by itself and from a notebook."""

import dataclasses
import itertools
import subprocess
import sys
import time

import psutil
import pytest
import torch

from helpers.commands import run, train
from helpers.core import devices, files, processes, seeding
from helpers.core.files import ArtifactError
from helpers.core.paths import RunPaths
from helpers.core.rules import SettingsError
from helpers.darts import perturbation, search
from helpers.models import backbones
from helpers.runs import stages
from helpers.runs.run_models import read_all_predictions
from helpers.runs.settings import parse_parameter
from helpers.training import features, finetune, launch, loop
from helpers.training.inference import ScoresError
from helpers.training.loop import TrainingError
from tests.conftest import split_of

TINY = ["IMAGE_SIZE_PX=16", "BATCH_SIZE=30", "CHANNELS=2", "LAYERS=3", "AUGMENT=none"]
TINY = [word for text in TINY for word in ("-p", text)]


@pytest.fixture
def run_paths(home, parts_folder):
    """A run whose split is made."""
    found = RunPaths("r")
    files.save_csv(found.split_csv, split_of(parts_folder))
    done = {"01_data_split": {"status": "done", "key": "k"}}
    about = {"run": "r", "preset": "smoke", "dataset": f"folder:{parts_folder}"}
    files.save_json(found.run_json, about | {"stages": done})
    return found


@pytest.fixture
def two_gpus(monkeypatch):
    """A notebook's process that sees two GPUs, and the commands that it starts."""
    commands = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(devices, "default_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(launch, "_follow", lambda command: commands.append(command) or 0)
    return commands


def search_stage(*parameters):
    given = dict(parse_parameter(text) for text in parameters if text != "-p")
    return stages.open_stage("04_darts_search", given | {"RUN": "r"})


def test_the_command_does_the_trainings_and_the_notebook_finds_them_done(run_paths, capsys):
    before = files.load_json(run_paths.run_json)["stages"]
    assert train.main(["04", "--name", "r", *TINY, "-p", "EPOCHS=1"]) == 0
    out = capsys.readouterr().out
    assert "04_darts_search of run r on CPU" in out
    assert f"--name r --preset smoke --dataset folder:{run_paths.root.parents[2]}/parts" in out
    assert "--from 04 -p IMAGE_SIZE_PX=16" in out
    record = files.load_json(run_paths.run_json)
    assert record["stages"] == before and list(record["steps"]) == ["search", "perturbation"]
    stage = search_stage(*TINY, "EPOCHS=1")
    perturbation.genotype_by_perturbation(stage, search.search_genotype(stage))
    assert stage.notes["reused"] == ["search", "perturbation"]


def test_the_command_trains_all_folds_and_finds_them_done(run_paths, monkeypatch, capsys):
    def small(seed, weights, cache):  # in place of a pretrained backbone
        with seeding.torch_stream(seed, "weights"):
            return backbones.TwoLayerCNN(backbones.spec_of("cnn", 2, cache.size_px, cache.channels))

    weights = backbones.Weights("net", {}, "nowhere")
    monkeypatch.setattr(finetune, "_pretrained", small)
    monkeypatch.setattr(features, "find_weights", lambda *given: weights)
    split = split_of(run_paths.root.parents[2] / "parts")
    fold = split.split.map({"train": 1, "val": 0}).astype("Int64")
    files.save_csv(run_paths.split_csv, split.assign(fold=fold))
    given = ["--part", "fbp", "-p", "IMAGE_SIZE_PX=16", "-p", "SEEDS=2"]
    for _ in range(2):
        assert train.main(["03", "--name", "r", *given]) == 0
    assert capsys.readouterr().out.count("trained: ") == 2
    steps = files.load_json(run_paths.run_json)["steps"]
    members = [f"fbp, seed {seed}, fold {fold}" for seed in (0, 1) for fold in (0, 1)]
    assert list(steps) == [*members, "fbp"]
    scored = read_all_predictions(run_paths)["fbp"]
    assert scored.averaged == "2 seeds x 2 folds" and len(scored.val) == 90


def test_the_time_budget_ends_with_its_exit_code_but_leaves_the_verdict_to_a_notebook(
    run_paths, capsys
):
    command = ["04", "--name", "r", *TINY, "-p", "TIME_BUDGET_MIN=0.000001"]
    assert train.main(command) == 75
    assert "search: the time budget is used up; finished work is kept" in capsys.readouterr().out
    assert train.main([*command, "--from-notebook"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["02"], "02_features_baselines trains no network; 03, 04, 05 do"),
        (["03", "--part", "svm"], "03_finetuning has no part 'svm': cnn, ll, fbp"),
        (["04", "-p", "RUN=x"], "RUN is given by --name, not by -p"),
        (["04", "-p", "CHANELS=4"], "no cell of 04_darts_search has the parameter CHANELS; did"),
        (["04", "--name", "x"], "04_darts_search needs the split of run 'x', which does not exist"),
    ],
)
def test_a_mistake_in_the_command_is_named(home, capsys, arguments, message):
    assert train.main(arguments) == 1
    assert message in capsys.readouterr().err


def test_a_full_memory_says_in_one_line_what_to_lower(run_paths, capsys, monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(search.Architect, "step", full)
    assert train.main(["04", "--name", "r", *TINY, "-p", "EPOCHS=1"]) == 1
    advice = "lower IMAGE_SIZE_PX (now 16) or BATCH_SIZE (now 30)"
    assert f"\nerror: search: the memory is full; {advice}" in capsys.readouterr().err


def test_a_run_in_use_and_half_a_launch_are_refused(run_paths, capsys, monkeypatch):
    with run.lock(run_paths):
        assert train.main(["04", "--name", "r", *TINY]) == 1
    assert "another process works on run 'r'" in capsys.readouterr().err
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert train.main(["04"]) == 1
    assert "torchrun --nproc-per-node N -m helpers.train" in capsys.readouterr().err


def test_an_error_that_all_processes_meet_is_printed_by_the_main_one_alone(
    home, capsys, monkeypatch
):
    raised = []

    def fail(_):
        raise raised[-1]

    monkeypatch.setattr(train, "_train", fail)
    shared = TrainingError("diverged"), ScoresError("not finite"), SettingsError("unknown")
    for is_main, error in itertools.product((True, False), (*shared, ArtifactError("damaged"))):
        raised.append(error)
        monkeypatch.setattr(processes, "is_main", lambda is_main=is_main: is_main)
        assert train.main(["03"]) == 1
        told = is_main or error not in shared
        assert capsys.readouterr().err == (f"\nerror: {error}\n" if told else "")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("03_finetuning", {"fbp_lr": 3e-4, "test_views": 8, "weights": "a b.pth"}),
        ("05_genotype_retraining", {"genotypes": ("DARTS_V2", "own cell.json"), "seeds": 2}),
    ],
)
def test_the_processes_get_all_settings_of_the_notebook(
    run_paths, two_gpus, tmp_path, monkeypatch, name, values
):
    monkeypatch.chdir(tmp_path)
    for file in ("a b.pth", "own cell.json"):
        (tmp_path / file).write_bytes(b"{}")
    stage = stages.open_stage(name, {"RUN": "r"})
    stage.settings = dataclasses.replace(stage.settings, **values)
    launch.on_all_gpus(stage, "cnn")
    (command,) = two_gpus
    assert "--num_processes=2" in command and "--multi_gpu" in command
    own = command[command.index("helpers.train") + 1 :]
    options = train._parser().parse_args(own)
    assert (options.stage, options.name, options.part) == (name, "r", "cnn")
    given = dict(parse_parameter(text) for text in options.parameter)
    assert stages.open_stage(name, given | {"RUN": "r"}).settings == stage.settings


def test_the_processes_get_what_is_left_of_the_time_budget(run_paths, two_gpus):
    stage = search_stage("TIME_BUDGET_MIN=10")
    stage.started_s -= 240
    launch.on_all_gpus(stage, "search")
    (left,) = [word for word in two_gpus[0] if word.startswith("TIME_BUDGET_MIN=")]
    assert float(left.partition("=")[2]) == pytest.approx(6, abs=0.1)


def test_failed_processes_are_an_error_of_the_notebook(run_paths, two_gpus, monkeypatch):
    monkeypatch.setattr(launch, "_follow", lambda command: 1)
    with pytest.raises(loop.TrainingError, match="on 2 GPUs ended with exit code 1, for the"):
        launch.on_all_gpus(search_stage(), "search")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    launch.on_all_gpus(search_stage(), "search")  # with one GPU nothing is started


def test_what_a_command_prints_is_shown_with_few_of_its_progress_bars(capsys):
    script = "import sys; print('a'); sys.stderr.write('1%\\r2%\\r3%\\r'); print('b'); sys.exit(3)"
    assert launch._follow([sys.executable, "-uc", script]) == 3
    assert capsys.readouterr().out == "a\n1%\rb\n"


def test_a_lost_process_ends_all_and_the_training_continues_from_its_last_epoch(
    run_paths, two_gpus, capsys
):
    launch.on_all_gpus(search_stage(*TINY, "EPOCHS=500"), "search")
    folder, began = run_paths.trainings("supernet"), time.monotonic()
    with subprocess.Popen(  # finding no GPU it runs two processes on the CPU
        two_gpus[0], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as started:
        while not list(folder.glob("*.resume")) and time.monotonic() - began < 300:
            assert started.poll() is None
            time.sleep(0.2)
        assert list(folder.glob("*.resume")), started.communicate(timeout=60)[0]
        workers = psutil.Process(started.pid).children(recursive=True)
        (lost,) = [w for w in workers if w.environ().get("RANK") == "1"]
        lost.kill()
        output, _ = started.communicate(timeout=60)
    assert started.returncode != 0, output
    assert not any(worker.is_running() for worker in workers)
    budget = ["-p", "EPOCHS=500", "-p", "TIME_BUDGET_MIN=0.000001"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "default_device", lambda: torch.device("cpu"))
        patch.setattr(stages.Stage, "_check_time", lambda self, name: None)  # let it take up first
        assert train.main(["04", "--name", "r", *TINY, *budget]) == 75
    assert "search: continuing after epoch" in capsys.readouterr().out
