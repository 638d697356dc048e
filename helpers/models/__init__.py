"""Networks: specifications, backbones, pretrained weights, complexity, fast execution."""

AUTO = "auto"  # as BACKBONE: the first of `weights.AUTO_ORDER` whose weights can be had
RANDOM = "random"  # as WEIGHTS, in place of a file: nothing is pretrained
