"""VideoMAE equals that of `transformers` with the same weights: tokens, loss, and the gradient of every weight."""

import pytest
import torch

from kinema.backbones.converters.videomae_hf import from_transformers, to_transformers
from kinema.backbones.vit import VisionTransformer
from kinema.errors import RecipeError
from kinema.methods.masked import MaskedAutoencoder, reconstruction_loss
from kinema.modules.transformer import TokenDecoder, patchify
from kinema.targets.masking import tube_masking

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

MEAN, STD = (torch.tensor(v).view(1, 3, 1, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def config(**options):
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 192}
    decoder = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 96}
    return transformers.VideoMAEConfig(
        image_size=32,
        num_frames=4,
        layer_norm_eps=1e-6,
        **sizes,
        **{f"decoder_{name}": value for name, value in decoder.items()},
        **{"use_mean_pooling": False, **options},
    )


def shaken(model):
    """Biases and scales that begin at 0 and 1 would hide what is left out."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        with torch.no_grad():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def ours(*, decoder=True, **options):
    trunk = VisionTransformer((4, 32, 32), width=48, depth=2, heads=3, **options)
    if not decoder:
        return trunk.eval()
    head = TokenDecoder(
        trunk.grid, 48, width=24, depth=1, heads=3, outputs=1536, projection_bias=False, bias="qv", mask_cut=True
    )
    return MaskedAutoencoder(trunk, head).eval()


def as_seen(video):
    """[B, C, T, H, W] in [0, 1] normalised, and as transformers takes it."""
    clips = (video - MEAN) / STD
    return clips, clips.transpose(1, 2).contiguous()


@pytest.mark.parametrize("qv_bias", [True, False])
def test_the_encoder_gives_the_same_tokens(qv_bias):
    reference = shaken(transformers.VideoMAEModel(config(qv_bias=qv_bias)))
    trunk = ours(decoder=False, bias="qv" if qv_bias else "none")
    weights = from_transformers(reference.state_dict())
    trunk.load_state_dict({key.removeprefix("trunk."): value for key, value in weights.items()})
    clips, theirs = as_seen(torch.rand(2, 3, 4, 32, 32))
    masking = tube_masking(torch.rand(2, 4), 2, 0.5)
    with torch.no_grad():
        torch.testing.assert_close(trunk(clips), reference(theirs).last_hidden_state)
        seen = reference(theirs, bool_masked_pos=masking.mask).last_hidden_state
        torch.testing.assert_close(trunk(clips, masking.kept), seen)


@pytest.mark.parametrize("normed", [True, False])
def test_loss_and_all_gradients_of_pre_training_are_the_same(normed):
    reference = shaken(transformers.VideoMAEForPreTraining(config(norm_pix_loss=normed)))
    # The one layer that transformers makes with torch's own epsilon instead of the configured one.
    reference.decoder.norm.eps = 1e-6
    network = ours()
    network.load_state_dict(from_transformers(reference.state_dict()))
    video = torch.rand(2, 3, 4, 32, 32)
    # A cube of one colour: its target must be 0, whatever the place of the epsilon.
    video[0, :, :2, :16, :16] = 0.5
    clips, theirs = as_seen(video)
    masking = tube_masking(torch.rand(2, 4), 2, 0.5)
    out = network(patchify(clips, network.trunk.patch), masking)
    pixels = patchify(clips * STD + MEAN, network.trunk.patch)
    loss = reconstruction_loss(out.predicted, pixels, masking, "channel" if normed else "none")
    expected = reference(theirs, bool_masked_pos=masking.mask)
    torch.testing.assert_close(out.predicted, expected.logits)
    torch.testing.assert_close(loss, expected.loss)
    loss.backward()
    expected.loss.backward()
    gradients = from_transformers({name: p.grad for name, p in reference.named_parameters()})
    assert gradients.keys() == dict(network.named_parameters()).keys()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-5, rtol=1e-3, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize("kind", ["VideoMAEForPreTraining", "VideoMAEModel"])
def test_weights_go_there_and_back_unchanged(kind):
    model = getattr(transformers, kind)(config())
    state = model.state_dict()
    back = to_transformers(from_transformers(state))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


def test_older_files_and_classifiers_are_read():
    model = shaken(transformers.VideoMAEForVideoClassification(config(use_mean_pooling=True)))
    state = model.state_dict()
    weights = from_transformers(state)
    assert "trunk.norm.weight" not in weights
    assert not any("classifier" in key or "fc_norm" in key for key in weights)
    older = {key.replace("query.bias", "q_bias").replace("value.bias", "v_bias"): value for key, value in state.items()}
    assert older.keys() != state.keys()
    again = from_transformers(older)
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[key], weights[key]) for key in weights)
    assert to_transformers(weights, prefix="videomae.").keys() == {
        key for key in state if not key.startswith(("fc_norm", "classifier"))
    }


def test_what_has_no_place_is_named():
    with pytest.raises(RecipeError, match="stages"):
        from_transformers({"stages.p1.weight": torch.zeros(1)})
    for name in ("trunk.cls_token", "trunk.blocks.0.attn.qkv.bias", "trunk.positions.spatial"):
        with pytest.raises(RecipeError, match=name):
            to_transformers({name: torch.zeros(1)})
