"""Settings: given values over the preset's over the defaults, and errors in the user's spelling."""

import dataclasses
import typing

import pytest

from helpers.core.rules import SettingsError
from helpers.runs import settings as config


def refused(stage="01_data_split", preset="quick", **given) -> str:
    with pytest.raises(SettingsError) as caught:
        config.resolve(stage, preset, given)
    return str(caught.value)


def test_a_given_value_wins_over_the_preset_and_the_preset_over_the_default():
    assert config.resolve("01_data_split", "full", {}).image_size_px == 192  # the default
    assert config.resolve("01_data_split", "smoke", {}).image_size_px == 64  # the preset's
    given = config.resolve("01_data_split", "smoke", {"image_size_px": 48, "max_images": None})
    assert (given.image_size_px, given.val_per_class) == (48, 5)  # the rest of the preset stays
    tested = [config.resolve("01_data_split", p, {}).test_fraction for p in ("quick", "full")]
    assert tested == [0.25, 0]
    assert given.max_images == 240


def test_a_stage_is_found_by_its_number_or_name_and_unknown_and_repeated_names_are_refused():
    assert {config.stage_name(text) for text in ("3", "03", "03_finetuning")} == {"03_finetuning"}
    with pytest.raises(SettingsError, match="'99'"):
        config.stage_name("99")
    assert "PRESET='fast'" in refused(preset="fast")
    assert "FBP_EPOCH; did you mean FBP_EPOCHS?" in refused("03_finetuning", fbp_epoch=3)
    assert "ZZZ (known: BAD, " in refused("01_data_split", zzz=None)
    with pytest.raises(SettingsError, match="BACKBONE is given twice"):
        config.parse_parameters(["SEED=1", "BACKBONE=resnet18", "BACKBONE=vgg11"])


@pytest.mark.parametrize(
    ("stage", "given", "taken"),
    [
        ("01", {"good": "ok, fine parts,"}, ("ok", "fine parts")),
        ("01", {"good": '["ok", "fine parts"]'}, ("ok", "fine parts")),
        ("01", {"good": 1}, ("1",)),  # a folder's name
        ("01", {"split_csv": 2024}, "2024"),
        ("03", {"fbp_lr": 1}, 1.0),
        ("03", {"backbone": "auto"}, ("auto",)),
        ("03", {"backbone": '["resnet18", "timm/resnet18", "vgg11"]'}, ("resnet18", "vgg11")),
        ("03", {"backbone": ["resnet18", "vgg11"]}, ("resnet18", "vgg11")),
    ],
)
def test_a_value_in_range_is_taken_as_the_type_of_its_setting(stage, given, taken):
    (name,) = given
    found = getattr(config.resolve(config.stage_name(stage), "quick", given), name)
    assert found == taken and type(found) is type(taken)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("FOLDER=2024_11_05", "2024_11_05"),
        ("GOOD=1.10", "1.10"),
        ('GOOD=["ok", "1.10"]', ["ok", "1.10"]),
        ("GOOD=['ok', 'fine']", ["ok", "fine"]),
        ("FOLDER=None", None),
        ("FBP_LR=1e-3", 1e-3),
        ("SKIP_UNREADABLE=True", True),
        ("GENOTYPES={[]:1}", "{[]:1}"),
        ("SEED=" + 10**5 * "[", 10**5 * "["),
    ],
)
def test_a_value_of_the_command_line_is_a_number_only_if_one_is_asked_for(text, value):
    name, _, _ = text.partition("=")
    assert config.parse_parameters([text]) == {name: value}


def test_the_trainings_of_03_take_its_parameters():
    given = {"cnn_epochs": 3, "ll_epochs": 4, "fbp_epochs": 5, "fbp_lr": 0.5, "batch_size": 7}
    settings = config.resolve("03_finetuning", "quick", given)
    assert (settings.cnn.epochs, settings.ll.epochs, settings.fbp.epochs) == (3, 4, 5)
    assert (settings.cnn.batch_size, settings.fbp.batch_size, settings.fbp.lr) == (7, 7, 0.5)
    assert settings.ll.augment == "none"  # it trains on stored features


@pytest.mark.parametrize(
    ("stage", "given", "culprit"),
    [
        ("01", {"val_per_class": True}, "VAL_PER_CLASS=True"),
        ("01", {"test_fraction": float("nan")}, "TEST_FRACTION=nan"),
        ("01", {"test_fraction": 0.0}, "CROSS_FIT"),
        ("01", {"good": '["a"'}, "GOOD='[\"a\"'"),
        ("03", {"test_views": 3}, "TEST_VIEWS=3"),
        ("03", {"backbone": ["resnet18", "vgg"]}, "'vgg'"),
        ("03", {"backbone": "auto, vgg11"}, "BACKBONE='auto, vgg11'"),
        ("03", {"backbone": ["vgg11", "vgg13"], "weights": "w.pth"}, "WEIGHTS='w.pth'"),
        ("04", {"channels": 6, "partial": 4}, "PARTIAL=4"),
        ("04", {"epochs": 2, "alpha_warmup": 2}, "ALPHA_WARMUP=2"),
        ("04", {"lr": 0.001, "lr_min": 0.01}, "LR_MIN=0.01"),
        ("07", {"escape_cost": 0.0, "false_alarm_cost": 0.0}, "REVIEW_COST"),
        ("07", {"escape_cost": 0.0}, "FALSE_ALARM_COST"),
    ],
)
def test_a_value_of_the_wrong_type_out_of_range_or_at_odds_with_another_is_refused(
    stage, given, culprit
):
    assert culprit in refused(config.stage_name(stage), **given)


@pytest.mark.parametrize("stage", config.STAGES)
def test_every_number_has_a_smallest_value(stage):
    hints = typing.get_type_hints(config.STAGES[stage])
    numbers = [n for n, hint in hints.items() if {int, float} & {hint, *typing.get_args(hint)}]
    assert numbers or stage == "08_your_part"
    for name in numbers:
        value = config.resolve(stage, "quick", {}).__dict__[name]
        least = -1e9 if isinstance(value, float) else -(10**9)
        assert name.upper() in refused(stage, **{name: least})


@pytest.mark.parametrize("preset", config.PRESETS)
@pytest.mark.parametrize("stage", config.STAGES)
def test_the_table_of_settings_says_what_each_is_for_and_marks_what_was_given(stage, preset):
    names = [field.name for field in dataclasses.fields(config.STAGES[stage])]
    numbers = [name for name in names if name == "seed"]
    given = config.resolve(stage, preset, dict.fromkeys(numbers, 2))
    assert isinstance(given, config.STAGES[stage])
    table = config.settings_table(given, preset)
    assert table.Setting.str.lower().tolist() == names and (table.Meaning.str.len() > 5).all()
    marked = table[table.Value.str.contains("given")]
    assert marked.Setting.str.lower().tolist() == numbers
    assert marked.Value.str.startswith("2").all()
