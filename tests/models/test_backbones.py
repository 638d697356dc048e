import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from helpers.core import files, tensors
from helpers.models import backbones


def test_the_two_layer_cnn_has_the_parameters_counted_by_hand():
    model = backbones.build(backbones.spec_of("cnn", 2, 64, in_channels=1))
    first, second = 16 * 1 * 25 + 16, 32 * 16 * 25 + 32
    hidden = (32 * 16 * 16) * 1000 + 1000 + 1000 * 1000 + 1000
    head = 1000 * 2 + 2
    assert sum(p.numel() for p in model.parameters()) == first + second + hidden + head


@pytest.mark.parametrize(
    ("kind", "size"), [("resnet18", 512), ("efficientnet_lite0", 1280), ("cnn", 1000)]
)
def test_a_model_embeds_into_its_stated_size_and_scores_from_the_embedding(kind, size):
    spec = backbones.spec_of(kind, 2, 64)
    model = backbones.build(spec).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        embedding = model.embed(images)
        torch.testing.assert_close(model(images), model.head(embedding))
    assert embedding.shape == (2, size) and spec.embedding_size == size
    assert dict(model.named_modules())[spec.feature_layer] is not None


def test_a_pretrained_model_has_the_weights_that_were_found():
    weights = backbones.find_weights("efficientnet_lite0")
    model = backbones.pretrained(weights, 2, 64)
    for name, value in model.trunk.state_dict().items():
        assert torch.equal(value, weights.state[name])


def test_a_saved_model_gives_the_same_scores_when_loaded(tmp_path):
    model = backbones.build(backbones.spec_of("cnn", 2, 16)).eval()
    images = torch.randn(3, 3, 16, 16)
    backbones.save_model(tmp_path / "m.safetensors", model, full_scale_bits=12, fit="pad")
    loaded = backbones.load_model(tmp_path / "m.safetensors")
    assert loaded.spec == model.spec and not loaded.training
    facts = backbones.facts_of(tmp_path / "m.safetensors")
    assert (facts.full_scale_bits, facts.fit, facts.flips) == (12, "pad", None)
    np.testing.assert_array_equal(loaded(images).detach(), model(images).detach())


def test_a_checkpoint_that_holds_no_model_is_refused(tmp_path):
    tensors.save_tensors(tmp_path / "m.safetensors", {"a": torch.zeros(1)}, {"spec": {}})
    with pytest.raises(files.ArtifactError, match="does not hold a model"):
        backbones.load_model(tmp_path / "m.safetensors")


WRITERS = {
    "README.md": lambda path: path.write_text("# Parts\n" * 100),
    "resnet18.pth": lambda path: torch.save({"w": torch.zeros(3)}, path),
    "w.safetensors": lambda path: save_file({"w": torch.zeros(3)}, path),
    "state": lambda path: tensors.save_state(path, {"key": "k", "loop": {}}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_user_s_file_that_is_not_a_checkpoint_is_not_to_be_deleted(home, tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path)
    with pytest.raises(files.ArtifactError) as error:
        backbones.load_model(path)
    said = str(error.value)
    assert said.startswith(str(path)) and backbones.CHECKPOINT in said
    assert "delete" not in said
