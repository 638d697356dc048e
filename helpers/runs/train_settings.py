"""The settings of one training, whichever model it is of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainSettings:
    """One run of the training loop."""

    epochs: int = 10
    epoch_images: int = 0  # an epoch draws at most so many images, each epoch others; 0: all
    batch_size: int = 32
    optimizer: str = "adamw"  # or "sgd"
    lr: float = 6e-4
    momentum: float = 0.9  # SGD only
    weight_decay: float = 0.01
    schedule: str = "one_cycle"  # "one_cycle", "cosine", "exponential" or "constant"
    lr_min: float = 0.0  # cosine: where it ends
    gamma: float = 0.97  # exponential: the factor per epoch
    label_smoothing: float = 0.1
    grad_clip: float = 5.0
    augment: str = "full"  # "none", "flips" or "full"
    ema_decay: float = 0.0  # 0 keeps no average of the weights
    precision: str = "auto"  # "auto", "bf16", "fp16" or "no" (float32)
    keep: str = "best"  # the weights of the "best" epoch on validation, or of the "last"
