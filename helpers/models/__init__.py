"""Networks: specifications, backbones, pretrained weights, complexity, fast execution."""
