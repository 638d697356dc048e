"""The values of each preset, stage by stage; other settings take their defaults.

`smoke` proves the wiring, `quick` takes minutes on a CPU, `full` takes hours (the GPU default),
`paper` is the report's Table 1.
"""

from typing import Any

PRESETS = ("smoke", "quick", "full", "paper")

# Maps of 32, 16 and 8 pixels, on which the operations differ; 5 layers, as in the networks of the
# cells, so there are normal cells on maps of each size. Alpha's learning rate times its steps
# bounds how far alpha and beta can move: 6 in DARTS, 2 in PC-DARTS, 3.6 on planted problems
# (`tests/benchmarks/planted.py`). Adam divides by the size of the gradient: if it is small, weight
# decay undoes every choice.
_SEARCH = dict(
    image_size_px=128, batch_size=32, channels=16, partial=4, layers=5, alpha_weight_decay=0.0
)
# A network of this size underfits so few images. It sees the eight symmetries alone: two points of
# validation AUC above the augmentation "full".
_CELLS: dict[str, Any] = dict(
    retrain_image_size_px=96, retrain_batch_size=64, retrain_channels=16, retrain_layers=5
)
_CELLS |= dict(retrain_lr=3e-3, retrain_weight_decay=0.01, retrain_augment="symmetries")
_CELLS |= dict(optimizer="adamw", schedule="one_cycle", auxiliary=False, test_views=8)

PRESET_VALUES: dict[str, dict[str, dict[str, Any]]] = {
    "smoke": {
        "01_data_split": dict(max_images=240, val_per_class=5, image_size_px=64),
        "02_features_baselines": dict(image_size_px=64, folds=2, trees=50),
        "03_finetuning": dict(image_size_px=64, cnn_image_size_px=32, folds=2, trees=50)
        | dict.fromkeys(("cnn_epochs", "ll_epochs", "fbp_epochs"), 1),
        "04_darts_search": dict(image_size_px=32, batch_size=32, channels=4, layers=3)
        | dict(epochs=2, alpha_lr=0.01),
        "05_genotype_retraining": dict(retrain_image_size_px=32, retrain_channels=4)
        | dict(retrain_layers=3, retrain_epochs=1, random_cells=2),
    },
    # About the size of ELPV's training set; each epoch takes a part of a larger set.
    "quick": {
        "02_features_baselines": dict(folds=3, trees=200),
        "03_finetuning": dict(epoch_images=2000, cnn_epochs=6, folds=3, trees=200)
        | dict(fbp_epochs=5, fbp_threads=2, test_views=8),
        "04_darts_search": _SEARCH
        | dict(search_images=2000, epochs=5, alpha_warmup=1, alpha_lr=0.03),
        # for the time of a search and the training of its cell one could train a third random cell
        "05_genotype_retraining": _CELLS
        | dict(epoch_images=2000, retrain_epochs=10, random_cells=2, test_views=4),
    },
    # All images in every epoch, longer trainings, and what raised an AUC or the trust in it: folds
    # of all images instead of one test set (a source's test set stays), three seeds, more random
    # cells to choose from. Larger networks of cells did little (`tests/benchmarks`).
    "full": {
        "01_data_split": dict(cross_fit=5, test_fraction=0.0),
        "03_finetuning": dict(cnn_epochs=20, ll_epochs=100, test_views=8, seeds=3),
        "04_darts_search": _SEARCH | dict(epochs=16, alpha_warmup=3, alpha_lr=0.01),
        "05_genotype_retraining": _CELLS | dict(random_cells=9, retrain_epochs=40, keep="last"),
    },
    # The report's Table 1 is about DARTS alone; only the batch size of 32 is used in 03.
    "paper": {
        "01_data_split": dict(image_size_px=224),
        "02_features_baselines": dict(image_size_px=224),
        "03_finetuning": dict(image_size_px=224, cnn_image_size_px=224)
        | dict(cnn_epochs=40, fbp_epochs=30, fbp_frozen=0),
        "04_darts_search": dict(image_size_px=224, order=2),
    },
}
