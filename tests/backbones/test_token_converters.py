"""Public weights of transformers become kinema's and compute the same, in their names and in `transformers`'."""

import tempfile

import pytest
import torch
from torch.nn.functional import conv3d, gelu, layer_norm, linear

from kinema.backbones import build_network
from kinema.backbones.converters import LAYOUTS, convert, load_weights, read_weights
from kinema.backbones.converters.tokens import TokenLayout, published_heads
from kinema.errors import RecipeError
from kinema.methods.encoders import ViTEncoder
from kinema.methods.masked import MaskedAutoencoder
from kinema.modules.encoder import EncoderInput
from kinema.modules.transformer import TokenDecoder, patchify
from kinema.targets.masking import random_masking

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48}
VIT = {**SIZES, "image_size": 32, "patch_size": 16, "layer_norm_eps": 1e-6}
DECODER = {
    "decoder_hidden_size": 12,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 48,
}
KNOWN = {"heads": 3, "size": (4, 32, 32)}


def shaken(model):
    """Biases and scales that begin at 0 and 1 would hide what is left out."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        with torch.no_grad():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def saved(model):
    """The tensors of a model as its file names them, which is not how they are called in memory."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return read_weights(f"{folder}/model.safetensors")


def vjepa2(kind="VJEPA2Model", **options):
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "pred_num_hidden_layers": 1}
    small = {"pred_hidden_size": 12, "pred_num_attention_heads": 2, "crop_size": 32, "frames_per_clip": 4}
    torch.manual_seed(0)
    return shaken(getattr(transformers, kind)(transformers.VJEPA2Config(**{**sizes, **small, **options})))


def videomae(kind, **options):
    config = transformers.VideoMAEConfig(**VIT, **DECODER, num_frames=4, **options)
    return shaken(getattr(transformers, kind)(config))


def vitmae(kind="ViTMAEModel"):
    return shaken(getattr(transformers, kind)(transformers.ViTMAEConfig(**VIT, **DECODER, mask_ratio=0.0)))


def clip(*size):
    return torch.randn(2, 3, *(size or (4, 32, 32)), generator=torch.Generator().manual_seed(2))


def built(converted):
    network = build_network(converted.backbone, **converted.options).eval()
    network.load_state_dict(converted.weights)
    return network


def loaded(state, **known):
    return built(convert(state, known={**KNOWN, **known}))


def near(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["VJEPA2Model", "VJEPA2ForVideoClassification"])
@pytest.mark.parametrize("size", [(4, 32, 32), (8, 32, 32)])
def test_vjepa2_of_transformers_gives_the_same_tokens_and_gradients(kind, size):
    reference = vjepa2(kind)
    trunk = loaded(saved(reference), heads=2)
    clips = clip(*size).requires_grad_()
    ours = trunk(clips)
    (gradient,) = torch.autograd.grad(ours.square().sum(), clips)
    encoder = getattr(reference, "vjepa2", reference)
    theirs = encoder(clips.transpose(1, 2), skip_predictor=True).last_hidden_state
    near(ours, theirs)
    torch.testing.assert_close(gradient, torch.autograd.grad(theirs.square().sum(), clips)[0], rtol=1e-4, atol=1e-4)


def test_vjepa2_shows_an_image_twice_as_transformers_does():
    reference = vjepa2()
    encoder = ViTEncoder(loaded(saved(reference), heads=2), EncoderInput(frames=4, size=(32, 32)))
    image = clip(32, 32)
    theirs = reference(image.unsqueeze(1), skip_predictor=True).last_hidden_state
    near(encoder(image).pooled, theirs.mean(1))


def test_vjepa2_counts_rows_and_columns_of_other_sizes_where_transformers_does_not():
    trunk, clips = loaded(saved(vjepa2()), heads=2), clip(4, 64, 48)
    wide = vjepa2(crop_size=64)  # whose rows are four tokens long
    near(trunk(clip(4, 64, 64)), wide(clip(4, 64, 64).transpose(1, 2), skip_predictor=True).last_hidden_state)
    theirs = vjepa2()(clips.transpose(1, 2), skip_predictor=True).last_hidden_state
    assert (trunk(clips) - theirs).abs().max() > 1e-3


def test_weights_of_vjepa2_in_its_own_names():
    reference = vjepa2()
    state = {f"module.backbone.{key}": value for key, value in own_names(reference.encoder.state_dict()).items()}
    checkpoint = {"epoch": 3, "target_encoder": state, "encoder": {key: value * 0 for key, value in state.items()}}
    converted = convert(checkpoint, known={"heads": 2})
    assert (converted.layout, converted.dropped) == ("vjepa2", ("module.backbone.pos_embed",))
    near(built(converted)(clip()), reference(clip().transpose(1, 2), skip_predictor=True).last_hidden_state)


def own_names(theirs):
    """V-JEPA 2's encoder as its authors name it: one matrix for queries, keys and values."""
    found = {"pos_embed": torch.zeros(1, 4, 24)}
    for key, value in theirs.items():
        key = key.replace("embeddings.patch_embeddings", "patch_embed").replace("layernorm", "norm")
        key = key.replace("layer.", "blocks.").replace("attention", "attn")
        if ".query." in key:
            block, leaf = key.split(".query.")
            old = block.replace("blocks.", "layer.").replace("attn", "attention")
            parts = [theirs[f"{old}.{name}.{leaf}"] for name in ("query", "key", "value")]
            found[f"{block}.qkv.{leaf}"] = torch.cat(parts)
        elif ".key." not in key and ".value." not in key:
            found[key] = value
    return found


@pytest.mark.parametrize("kind", ["VideoMAEModel", "VideoMAEForPreTraining"])
def test_videomae_of_transformers(kind):
    reference = videomae(kind, use_mean_pooling=False)
    converted = convert(saved(reference), known=KNOWN)
    assert (converted.layout, converted.pool) == ("videomae-hf", "mean")
    assert bool(converted.decoder) == (kind == "VideoMAEForPreTraining")
    encoder = getattr(reference, "videomae", reference)
    near(built(converted)(clip()), encoder(clip().transpose(1, 2)).last_hidden_state)


def test_classifiers_of_videomae_average_before_the_last_norm():
    reference = videomae("VideoMAEForVideoClassification")
    reference.fc_norm.eps = 1e-6
    converted = convert(saved(reference), known=KNOWN)
    assert (converted.pool, set(converted.dropped)) == ("late", {"classifier.weight", "classifier.bias"})
    encoder = ViTEncoder(built(converted), EncoderInput(frames=4, size=(32, 32)), pool=converted.pool)
    near(reference.classifier(encoder(clip()).pooled), reference(clip().transpose(1, 2)).logits)
    tokens = reference.videomae(clip().transpose(1, 2)).last_hidden_state
    near(encoder(clip()).map.flatten(2).transpose(1, 2), tokens)


def test_a_classifier_without_its_head_is_refused_with_the_remedy():
    with pytest.raises(RecipeError, match=r"no last LayerNorm.*Take the file of the whole classifier"):
        convert(videomae("VideoMAEModel").state_dict())


def authors_names(state, *, encoder="encoder."):
    """VideoMAE of transformers as its authors name it: `q_bias`, `v_bias`, one matrix for queries, keys and values."""
    found = {}
    for key, value in state.items():
        key = key.replace("videomae.encoder.layer", f"{encoder}blocks").replace("videomae.layernorm", f"{encoder}norm")
        key = key.replace("videomae.embeddings.patch_embeddings.projection", f"{encoder}patch_embed.proj")
        key = key.replace("decoder.decoder_layers", "decoder.blocks").replace("classifier", "head")
        for theirs, own in (
            ("layernorm_before", "norm1"),
            ("layernorm_after", "norm2"),
            ("attention.output.dense", "attn.proj"),
            ("intermediate.dense", "mlp.fc1"),
            (".output.dense", ".mlp.fc2"),
            ("attention.attention.query.bias", "attn.q_bias"),
            ("attention.attention.value.bias", "attn.v_bias"),
        ):
            key = key.replace(theirs, own)
        found[key] = value
    for key in [key for key in found if key.endswith("attention.attention.query.weight")]:
        block = key.removesuffix("attention.attention.query.weight")
        parts = [found.pop(f"{block}attention.attention.{name}.weight") for name in ("query", "key", "value")]
        found[f"{block}attn.qkv.weight"] = torch.cat(parts)
    return found


def test_videomae_in_its_authors_names_with_its_decoder():
    reference = videomae("VideoMAEForPreTraining", use_mean_pooling=False)
    reference.decoder.norm.eps = 1e-6
    converted = convert({"model": authors_names(reference.state_dict()), "epoch": 1}, known=KNOWN)
    assert (converted.layout, converted.dropped, converted.options["bias"]) == ("videomae", (), "qv")
    trunk = built(converted)
    decoder = TokenDecoder(
        trunk.grid, 24, width=12, depth=1, heads=2, outputs=1536, projection_bias=False, bias="qv"
    ).eval()
    decoder.load_state_dict(converted.decoder)
    masking = random_masking(torch.rand(2, 8, generator=torch.Generator().manual_seed(0)), 0.5)
    ours = MaskedAutoencoder(trunk, decoder)(patchify(clip(), trunk.patch), masking).predicted
    near(ours, reference(clip().transpose(1, 2), bool_masked_pos=masking.mask).logits)


def test_classifiers_of_videomae_in_its_authors_names():
    reference = videomae("VideoMAEForVideoClassification")
    reference.fc_norm.eps = 1e-6
    state = {f"module.{key}": value for key, value in authors_names(reference.state_dict(), encoder="").items()}
    converted = convert({"state_dict": state}, known=KNOWN)
    assert (converted.pool, converted.layout) == ("late", "videomae")
    assert set(converted.dropped) == {"module.head.weight", "module.head.bias"}
    encoder = ViTEncoder(built(converted), EncoderInput(frames=4, size=(32, 32)), pool="late")
    near(reference.classifier(encoder(clip()).pooled), reference(clip().transpose(1, 2)).logits)


def test_image_mae_of_transformers_and_in_its_authors_names():
    reference = vitmae("ViTMAEForPreTraining")
    image = clip(32, 32)
    kept = torch.arange(4.0).expand(2, -1)
    theirs = reference.vit(image, noise=kept).last_hidden_state
    converted = convert(saved(reference), known={"heads": 3})
    assert (converted.layout, converted.options["size"]) == ("mae-hf", (1, 32, 32))
    near(built(converted)(image.unsqueeze(2)), theirs)
    own = authors_image_names(saved(reference))
    again = convert({"model": own}, known={"heads": 3})
    assert (again.layout, again.dropped) == ("mae", ())
    near(built(again)(image.unsqueeze(2)), theirs)
    assert again.decoder.keys() == converted.decoder.keys()
    decoder = TokenDecoder(
        (1, 2, 2), 24, width=12, depth=1, heads=2, outputs=768, positions="learned", class_token="encoder"
    ).eval()
    decoder.load_state_dict(converted.decoder)
    noise = torch.tensor([[0.1, 0.9, 0.2, 0.8], [0.9, 0.1, 0.2, 0.8]])
    masking = random_masking(noise, 0.5)
    reference.config.mask_ratio = 0.5
    predicted = reference(image, noise=noise).logits
    ours = MaskedAutoencoder(built(converted), decoder)(patchify(image.unsqueeze(2), (1, 16, 16)), masking).predicted
    near(ours, predicted.gather(1, masking.hidden.unsqueeze(-1).expand(-1, -1, 768)))


def authors_image_names(state):
    found = {}
    for key, value in state.items():
        for theirs, own in (
            ("vit.embeddings.patch_embeddings.projection", "patch_embed.proj"),
            ("vit.embeddings.cls_token", "cls_token"),
            ("vit.embeddings.position_embeddings", "pos_embed"),
            ("decoder.decoder_encoder.layer", "decoder_blocks"),
            ("decoder.decoder_layers", "decoder_blocks"),
            ("vit.encoder.layer", "blocks"),
            ("vit.layers", "blocks"),
            ("vit.layernorm", "norm"),
            ("decoder.", ""),
            ("layernorm_before", "norm1"),
            ("layernorm_after", "norm2"),
            ("intermediate.dense", "mlp.fc1"),
            ("attention.output.dense", "attn.proj"),
            (".output.dense", ".mlp.fc2"),
        ):
            key = key.replace(theirs, own)
        found[key] = value
    for key in [key for key in found if ".query." in key]:
        parts = [found.pop(key.replace("query", name)) for name in ("query", "key", "value")]
        found[key.replace("attention.attention.query", "attn.qkv")] = torch.cat(parts)
    return found


def mae_st(*, class_token, separable, generator=None):
    """A state dict as MAE-ST writes it: width 24, two blocks, clips of 4 x 32 x 32."""
    generator = generator or torch.Generator().manual_seed(3)
    shapes = {"patch_embed.proj.weight": (24, 3, 2, 16, 16), "patch_embed.proj.bias": (24,), "mask_token": (1, 1, 12)}
    for side, width, depth in (("", 24, 2), ("decoder_", 12, 1)):
        for block in range(depth):
            start = f"{side}blocks.{block}."
            for name in ("q", "k", "v", "proj"):
                shapes |= {f"{start}attn.{name}.weight": (width, width), f"{start}attn.{name}.bias": (width,)}
            shapes |= {f"{start}mlp.fc1.weight": (4 * width, width), f"{start}mlp.fc1.bias": (4 * width,)}
            shapes |= {f"{start}mlp.fc2.weight": (width, 4 * width), f"{start}mlp.fc2.bias": (width,)}
            for norm in ("norm1", "norm2"):
                shapes |= {f"{start}{norm}.weight": (width,), f"{start}{norm}.bias": (width,)}
        shapes |= {f"{side}norm.weight": (width,), f"{side}norm.bias": (width,)}
        if separable:
            shapes |= {f"{side}pos_embed_spatial": (1, 4, width), f"{side}pos_embed_temporal": (1, 2, width)}
            shapes |= {f"{side}pos_embed_class": (1, 1, width)} if class_token else {}
        else:
            shapes[f"{side}pos_embed"] = (1, 8 + class_token, width)
        shapes |= {f"{side}cls_token": (1, 1, width)} if class_token else {}
    shapes |= {"decoder_embed.weight": (12, 24), "decoder_embed.bias": (12,)}
    shapes |= {"decoder_pred.weight": (1536, 12), "decoder_pred.bias": (1536,)}
    return {key: 0.3 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def mae_st_blocks(state, x, side, depth, heads):
    for block in range(depth):
        own = {key.removeprefix(f"{side}blocks.{block}."): value for key, value in state.items()}
        y = layer_norm(x, x.shape[-1:], own["norm1.weight"], own["norm1.bias"], 1e-6)
        q, k, v = (
            linear(y, own[f"attn.{name}.weight"], own[f"attn.{name}.bias"]).unflatten(-1, (heads, -1)).transpose(1, 2)
            for name in "qkv"
        )
        mixed = ((q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5).softmax(-1) @ v
        x = x + linear(mixed.transpose(1, 2).flatten(2), own["attn.proj.weight"], own["attn.proj.bias"])
        y = layer_norm(x, x.shape[-1:], own["norm2.weight"], own["norm2.bias"], 1e-6)
        y = gelu(linear(y, own["mlp.fc1.weight"], own["mlp.fc1.bias"]))
        x = x + linear(y, own["mlp.fc2.weight"], own["mlp.fc2.bias"])
    return x


def mae_st_positions(state, side):
    """Rows of the class token, where there is one, and of the eight cubes."""
    if f"{side}pos_embed" in state:
        return state[f"{side}pos_embed"]
    cubes = (state[f"{side}pos_embed_temporal"][:, :, None] + state[f"{side}pos_embed_spatial"][:, None]).flatten(1, 2)
    front = state.get(f"{side}pos_embed_class")
    return cubes if front is None else torch.cat([front, cubes], 1)


def mae_st_encoder(state, clips):
    x = conv3d(clips, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], (2, 16, 16))
    x = x.flatten(2).transpose(1, 2)
    if "cls_token" in state:
        x = torch.cat([state["cls_token"].expand(len(x), -1, -1), x], 1)
    return mae_st_blocks(state, x + mae_st_positions(state, ""), "", 2, 3)


@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("separable", [True, False])
def test_mae_st_with_and_without_class_token(class_token, separable):
    state = mae_st(class_token=class_token, separable=separable)
    converted = convert({"model_state": state}, known=KNOWN if not separable else {"heads": 3})
    assert (converted.layout, converted.dropped, converted.pool) == ("mae-st", (), "mean")
    assert converted.options["size"] == (4, 32, 32)
    expected = layer_norm(mae_st_encoder(state, clip()), (24,), state["norm.weight"], state["norm.bias"], 1e-6)
    near(built(converted)(clip()), expected)


def test_the_decoder_of_mae_st():
    state = mae_st(class_token=True, separable=True)
    converted = convert(state, known={"heads": 3})
    trunk = built(converted)
    decoder = TokenDecoder(
        trunk.grid, 24, width=12, depth=1, heads=2, outputs=1536, positions="separable", class_token="own", fused=False
    ).eval()
    decoder.load_state_dict(converted.decoder)
    masking = random_masking(torch.rand(2, 8, generator=torch.Generator().manual_seed(0)), 0.5)
    model = MaskedAutoencoder(trunk, decoder)(patchify(clip(), trunk.patch), masking)
    latent = linear(model.latent[:, 1:], state["decoder_embed.weight"], state["decoder_embed.bias"])
    x = state["mask_token"].expand(2, 8, -1).scatter(1, masking.kept.unsqueeze(-1).expand(-1, -1, 12), latent)
    x = torch.cat([state["decoder_cls_token"].expand(2, -1, -1), x], 1) + mae_st_positions(state, "decoder_")
    x = mae_st_blocks(state, x, "decoder_", 1, 2)[:, 1:]
    x = layer_norm(x, (12,), state["decoder_norm.weight"], state["decoder_norm.bias"], 1e-6)
    theirs = linear(x, state["decoder_pred.weight"], state["decoder_pred.bias"])
    near(model.predicted, theirs.gather(1, masking.hidden.unsqueeze(-1).expand(-1, -1, 1536)))


def test_classifiers_of_mae_st_average_before_the_norm():
    state = {
        k: v for k, v in mae_st(class_token=True, separable=True).items() if "decoder" not in k and "mask" not in k
    }
    converted = convert(state | {"head.weight": torch.zeros(400, 24)}, known={"heads": 3})
    assert (converted.pool, converted.dropped) == ("late", ("head.weight",))
    encoder = ViTEncoder(built(converted), EncoderInput(frames=4, size=(32, 32)), pool="late")
    mean = mae_st_encoder(state, clip())[:, 1:].mean(1)
    near(encoder(clip()).pooled, layer_norm(mean, (24,), state["norm.weight"], state["norm.bias"], 1e-6))


def test_learned_positions_are_stretched_for_other_clips():
    state = mae_st(class_token=False, separable=True)
    trunk = loaded(state)
    assert trunk(clip(8, 48, 48)).shape == (2, 36, 24)
    # Constant tables stay constant, whatever the grid.
    state["pos_embed_spatial"].fill_(0.5)
    state["pos_embed_temporal"].fill_(0.25)
    torch.testing.assert_close(loaded(state).positions((3, 5, 4)), torch.full((60, 24), 0.75))


def test_heads_that_no_weight_tells_are_those_of_the_published_size():
    assert [published_heads(*size) for size in ((384, 12), (768, 12), (1280, 32), (1408, 40), (128, 3), (24, 2))] == [
        *(6, 12, 16, 22, 2, 1)
    ]


def test_all_token_layouts_are_recognised():
    states = {
        "videomae": authors_names(videomae("VideoMAEForPreTraining", use_mean_pooling=False).state_dict()),
        "videomae-hf": saved(videomae("VideoMAEForVideoClassification")),
        "mae-st": mae_st(class_token=True, separable=True),
        "vjepa2-hf": saved(vjepa2()),
        "vjepa2": own_names(vjepa2().encoder.state_dict()),
        "mae-hf": saved(vitmae()),
        "mae": authors_image_names(saved(vitmae("ViTMAEForPreTraining"))),
    }
    assert {name: convert(state, known={"heads": 3}).layout for name, state in states.items()} == dict(
        zip(states, states, strict=True)
    )
    assert set(states) == {name for name, layout in LAYOUTS.items() if isinstance(layout, TokenLayout)}


def test_a_tensor_without_a_place_is_named():
    state = mae_st(class_token=True, separable=True) | {"neck.weight": torch.zeros(2)}
    with pytest.raises(RecipeError, match=r"no place for 1 tensors: neck\.weight"):
        convert(state)
    short = {key: value for key, value in state.items() if not key.startswith(("neck", "blocks.1.norm1"))}
    with pytest.raises(RecipeError, match=r"2 missing: blocks\.1\.norm1\.weight"):
        convert(short)


def test_weights_load_into_a_network_that_fits():
    state = mae_st(class_token=True, separable=True)
    trunk = build_network("vit", **convert(state).options)
    load_weights(trunk, state)
    torch.testing.assert_close(trunk.cls_token.data, state["cls_token"])
