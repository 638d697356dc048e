"""Facts of a run are those of its record and its split."""

import pandas as pd

from helpers.results import facts

STAGES = {
    "01_data_split": {
        "label_mapping": "bad = p >= 1/2",
        "settings": {"split": "groups", "seed": 3},
    },
    "02_features_baselines": {"backbone": "resnet18", "device": "CPU", "settings": {"seed": 0}},
    "03_finetuning": {"settings": {"seed": 5, "seeds": 2}, "device": "H100"},
}


def test_facts_name_images_split_backbone_seeds_and_device():
    split = pd.DataFrame({"split": ["train"] * 3 + ["test"] * 2, "label": [0, 0, 1, 1, None]})
    rows = facts.facts(STAGES, split).set_index("Fact").Value
    assert rows["Images, training"] == "2 good, 1 bad"
    assert rows["Images, test"] == "1 bad, 1 unlabelled"
    assert (rows["Split"], rows["Split, seed"], rows["Folds"]) == ("groups", "3", "none")
    assert (rows["Backbone"], rows["Device"]) == ("resnet18", "H100")
    assert rows["Training seeds, 03"] == "2 from 5" and "Caveats" not in rows


def test_the_backbone_is_that_of_fine_tuning_or_of_the_features():
    later = STAGES | {"03_finetuning": {"backbone": "convnext_tiny"}}
    assert facts.backbone(later) == "convnext_tiny" and facts.backbone({}) == ""
