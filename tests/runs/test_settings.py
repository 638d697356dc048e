"""Settings: given values over the preset's over the defaults, and errors in the user's spelling."""

import dataclasses
import typing

import pytest

from helpers.core.rules import SettingsError
from helpers.darts.settings import SearchSettings
from helpers.datasets.settings import SplitSettings
from helpers.runs import settings as config
from helpers.training.settings import FinetuneSettings


def refused(stage="01_data_split", preset="quick", **given) -> str:
    with pytest.raises(SettingsError) as caught:
        config.resolve(stage, preset, given)
    return str(caught.value)


def test_a_given_value_wins_over_the_preset_and_the_preset_over_the_default():
    assert config.resolve("01_data_split", "quick", {}).image_size_px == 192  # the default
    assert config.resolve("01_data_split", "smoke", {}).image_size_px == 64  # the preset's
    given = config.resolve("01_data_split", "smoke", {"image_size_px": 48})
    assert (given.image_size_px, given.val_per_class) == (48, 5)  # the rest of the preset stays
    nothing = {"image_size_px": None, "max_images": None, "dataset": None}
    settings = config.resolve("01_data_split", "smoke", nothing)
    assert (settings.image_size_px, settings.max_images, settings.dataset) == (64, 240, "elpv")


@pytest.mark.parametrize("preset", config.PRESETS)
@pytest.mark.parametrize("stage", config.STAGES)
def test_every_preset_gives_settings_for_every_stage(stage, preset):
    settings = config.resolve(stage, preset, {})
    assert isinstance(settings, config.STAGES[stage])
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.seed = 1


def test_an_unknown_name_is_refused_with_the_nearest_one():
    asked = "no cell of 03_finetuning has the parameter FBP_EPOCH; did you mean FBP_EPOCHS?"
    assert refused("03_finetuning", fbp_epoch=3) == asked
    asked = "no cell of 01_data_split has the parameter ZZZ (known: BAD, "
    assert refused("01_data_split", zzz=None).startswith(asked)


def test_a_stage_is_found_by_its_number_or_name_and_an_unknown_one_or_preset_is_refused():
    assert {config.stage_name(text) for text in ("3", "03", "03_finetuning")} == {"03_finetuning"}
    assert refused(preset="fast") == "PRESET='fast' is not one of smoke, quick, full, paper"
    with pytest.raises(SettingsError, match=r"^no stage '99'; there are 01_data_split, "):
        config.stage_name("99")


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("val_per_class", True, "a whole number"),
        ("test_fraction", float("nan"), "a finite number"),
        ("skip_unreadable", 1, "True or False"),
        ("dataset", True, "text"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(name, value, kind):
    assert refused(**{name: value}) == f"{name.upper()}={value!r} must be {kind}"


@pytest.mark.parametrize(
    "given", ["ok, fine parts,", '["ok", "fine parts"]', ["ok", "fine parts"], ("ok", "fine parts")]
)
def test_names_may_be_text_with_commas_json_a_list_or_a_tuple(given):
    settings = config.resolve("01_data_split", "quick", {"good": given})
    assert settings.good == ("ok", "fine parts")


def test_a_folder_called_by_a_number_is_text_and_a_whole_number_will_do_for_a_fraction():
    settings = SplitSettings(good=1, test_folder=2024)
    assert settings.good == ("1",) and settings.test_folder == "2024"
    assert isinstance(FinetuneSettings(fbp_lr=1).fbp_lr, float)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("FOLDER=2024_11_05", "2024_11_05"),
        ("COMPARE_RUN=1e3", "1e3"),
        ("TEST_FOLDER=0x10", "0x10"),
        ("GOOD=1.10", "1.10"),
        ("GOOD=2024_11,2024_12", "2024_11,2024_12"),
        ('GOOD=["ok", "1.10"]', ["ok", "1.10"]),
        ("GOOD=['ok', 'fine']", ["ok", "fine"]),
        ("FOLDER=None", None),
        ("FBP_LR=0.10", 0.1),
        ("FBP_LR=1e-3", 1e-3),
        ("SKIP_UNREADABLE=True", True),
        ("GENOTYPES={[]:1}", "{[]:1}"),
        ("SEED=" + 10**5 * "[", 10**5 * "["),
    ],
)
def test_a_value_of_the_command_line_is_a_number_only_if_one_is_asked_for(text, value):
    name, _, _ = text.partition("=")
    assert config.parse_parameters([text]) == {name: value}


def test_a_name_that_is_given_twice_is_refused_and_the_way_to_write_a_list_is_said():
    with pytest.raises(SettingsError) as caught:
        config.parse_parameters(["SEED=1", "BACKBONE=resnet18", "BACKBONE=vgg11"])
    assert str(caught.value) == (
        '-p BACKBONE is given twice: give it once, a list as -p \'BACKBONE=["A", "B"]\''
    )


def test_a_cost_of_looking_again_needs_the_other_costs():
    for stage in ("06_analysis", "07_your_part"):
        assert refused(stage, review_cost=1.0).startswith("REVIEW_COST says nothing alone: give")


def test_the_trainings_of_03_take_its_parameters():
    given = {"cnn_epochs": 3, "ll_epochs": 4, "fbp_epochs": 5, "fbp_lr": 0.5, "batch_size": 7}
    settings = config.resolve("03_finetuning", "quick", given)
    assert (settings.cnn.epochs, settings.ll.epochs, settings.fbp.epochs) == (3, 4, 5)
    assert (settings.cnn.batch_size, settings.fbp.batch_size, settings.fbp.lr) == (7, 7, 0.5)
    assert settings.ll.augment == "none"  # it trains on stored features


@pytest.mark.parametrize(
    ("stage", "name", "value", "problem"),
    [
        ("03_finetuning", "epoch_images", 1, "must be 2 or more, or 0 for all"),
        ("02_features_baselines", "repeats", 1, "must be 2 or more, or 0 for none"),
        ("03_finetuning", "precision", "foo", "is not one of auto, bf16, fp16, no"),
        ("03_finetuning", "test_views", 3, "is not one of 1, 4, 8"),
        ("03_finetuning", "fbp_ema_decay", 1.0, "must be below 1"),
        ("05_genotype_retraining", "gamma", 1.5, "must be at most 1"),
        ("05_genotype_retraining", "drop_path", 1, "must be below 1"),
        ("05_genotype_retraining", "schedule", "step", "is not one of one_cycle, cosine"),
        ("05_genotype_retraining", "genotypes", '["DARTS_V2"', "is not a list in JSON"),
        ("01_data_split", "good", '["a"', "is not a list in JSON (Expecting"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(stage, name, value, problem):
    assert refused(stage, **{name: value}).startswith(f"{name.upper()}={value!r} {problem}")


@pytest.mark.parametrize("stage", config.STAGES)
def test_every_number_has_a_smallest_value(stage):
    hints = typing.get_type_hints(config.STAGES[stage])
    numbers = [n for n, hint in hints.items() if {int, float} & {hint, *typing.get_args(hint)}]
    assert numbers
    for name in numbers:
        value = config.resolve(stage, "quick", {}).__dict__[name]
        least = -1e9 if isinstance(value, float) else -(10**9)
        assert name.upper() in refused(stage, **{name: least})


def test_the_smallest_and_the_largest_values_are_taken():
    split = config.resolve("01_data_split", "quick", {"max_images": 1, "seed": 2**32 - 1})
    assert (split.max_images, split.seed) == (1, 2**32 - 1)
    given = {"momentum": 0.0, "gamma": 1.0, "epoch_images": 2, "keep": "last"}
    training = config.resolve("05_genotype_retraining", "quick", given).training
    assert (training.momentum, training.gamma, training.epoch_images) == (0.0, 1.0, 2)
    assert training.keep == "last"


@pytest.mark.parametrize(
    ("given", "backbones"),
    [
        ("auto", ("auto",)),
        ("timm/convnext_tiny", ("convnext_tiny",)),
        ('["resnet18", "timm/resnet18", "vgg11"]', ("resnet18", "vgg11")),
        (
            ["efficientnet_lite0", "efficientnet_lite2"],
            ("efficientnet_lite0", "efficientnet_lite2"),
        ),
    ],
)
def test_a_backbone_is_a_name_or_a_list_of_names(given, backbones):
    for stage in ("02_features_baselines", "03_finetuning"):
        assert config.resolve(stage, "quick", {"backbone": given}).backbone == backbones


@pytest.mark.parametrize("stage", ["02_features_baselines", "03_finetuning"])
def test_a_backbone_that_is_unknown_or_a_file_for_several_is_refused(stage):
    said = refused(stage, backbone="resnet81")
    assert said.startswith(
        "BACKBONE='resnet81' cannot be used: 'resnet81' is not a backbone of timm"
    )
    said = refused(stage, backbone=["resnet18", "vgg"])
    assert said.startswith(
        "BACKBONE=['resnet18', 'vgg'] cannot be used: 'vgg' is not a backbone of"
    )
    assert refused(stage, backbone=[]) == "BACKBONE=[] names no backbone"
    said = (
        "BACKBONE='auto, vgg11' cannot have auto beside others: name all backbones, or auto alone"
    )
    assert refused(stage, backbone="auto, vgg11") == said
    said = refused(stage, backbone=["vgg11", "vgg13"], weights="w.pth")
    assert said.startswith(
        "WEIGHTS='w.pth' is a file for one backbone, but BACKBONE names 2: leave"
    )
    both = {"backbone": ["vgg11", "vgg13"], "weights": "random"}
    assert config.resolve(stage, "quick", both).weights == "random"


def test_a_time_budget_is_not_what_a_result_depends_on():
    limited, free = SearchSettings(time_budget_min=5), SearchSettings()
    assert config.decisive(limited) == config.decisive(free) and limited != free
    assert "epochs" in config.decisive(limited)


@pytest.mark.parametrize("stage", config.STAGES)
def test_the_table_of_settings_says_what_each_is_for_and_marks_what_was_given(stage):
    has_seed = "seed" in vars(config.resolve(stage, "quick", {}))
    numbers = ("seed",) if has_seed else ("escape_cost", "false_alarm_cost")
    table = config.settings_table(
        config.resolve(stage, "quick", dict.fromkeys(numbers, 2)), "quick"
    )
    assert table.Setting.tolist() == [
        f.name.upper() for f in dataclasses.fields(config.STAGES[stage])
    ]
    assert (table.Meaning.str.len() > 5).all()
    marked = table[table.Value.str.contains("given")]
    assert marked.Setting.str.lower().tolist() == [*numbers]
    assert marked.Value.str.startswith("2").all()
