import torch
from torch import nn

from kinema.backbones import C3DLight
from kinema.modules.heads import C3DLightHead, ConvProjectionHead, ProjectionHead


def test_trunk_and_head_have_the_published_count():
    with torch.device("meta"):
        trunk, head = C3DLight(), C3DLightHead()
        out = head(trunk.forward_map(torch.empty(2, 3, 16, 112, 112)))
    assert out.shape == (2, 14)
    assert sum(p.numel() for part in (trunk, head) for p in part.parameters()) == 17_266_702
    assert [layer.weight.numel() + layer.bias.numel() for layer in (head.fc6, head.fc7, head.fc8)] == [
        8_390_656,
        4_196_352,
        28_686,
    ]


def test_the_map_is_flattened_time_height_width_channel():
    head = C3DLightHead(1, channels=2, map_size=(2, 1, 3), hidden=12)
    with torch.no_grad():
        for layer in (head.fc6, head.fc7):
            layer.weight.copy_(torch.eye(12))
            layer.bias.zero_()
        head.fc8.weight.copy_(torch.arange(12.0))
    x = torch.zeros(1, 2, 2, 1, 3)
    x[0, 1, 0, 0, 2] = 1.0  # (t, y, x, c) = (0, 0, 2, 1): place (0 * 3 + 2) * 2 + 1 = 5
    torch.testing.assert_close(head(x) - head.fc8.bias, torch.tensor([[5.0]]))
    torch.testing.assert_close(head(-x), head.fc8.bias[None])  # ReLU lets nothing through


def test_initial_weights_follow_the_paper():
    torch.manual_seed(0)
    head = C3DLightHead(200, channels=16, hidden=400)
    for layer, std, bias in ((head.fc6, 0.005, 1.0), (head.fc7, 0.005, 1.0), (head.fc8, 0.01, 0.0)):
        assert layer.bias.eq(bias).all()
        assert abs(layer.weight.std().item() / std - 1) < 0.02
        assert abs(layer.weight.mean().item()) < 0.02 * std


def test_dropout_acts_in_train_mode_only():
    torch.manual_seed(0)
    head, x = C3DLightHead(channels=4, hidden=64, dropout=0.5), torch.randn(2, 4, 1, 4, 4)
    assert not torch.equal(head(x), head(x))
    head.eval()
    assert torch.equal(head(x), head(x))


def test_projection_heads_have_the_layers_asked_for():
    def sizes(head):
        return [(layer.in_features, layer.out_features) for layer in head.modules() if isinstance(layer, nn.Linear)]

    assert sizes(ProjectionHead(8, 3)) == [(8, 3)]
    assert sizes(ProjectionHead(8, 3, hidden=1)) == [(8, 8), (8, 3)]
    deep = ProjectionHead(8, 3, hidden=3, width=16, batch_norm=True)
    assert sizes(deep) == [(8, 16), (16, 16), (16, 16), (16, 3)]
    kinds = [type(layer).__name__ for layer in deep.layers]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU"] * 3 + ["Linear"]
    assert [layer.bias is None for layer in deep.layers if isinstance(layer, nn.Linear)] == [True] * 3 + [False]
    conv, normed = ConvProjectionHead(8, 3), ConvProjectionHead(8, 3, batch_norm=True)
    assert [type(layer).__name__ for layer in conv.convolutions] == ["Conv3d", "ReLU", "Conv3d"]
    assert [type(layer).__name__ for layer in normed.convolutions] == ["Conv3d", "BatchNorm3d", "ReLU"]


def test_projections_are_of_length_1_of_the_pooled_map():
    torch.manual_seed(0)
    x = torch.randn(4, 8, 2, 3, 3)
    for head in (ProjectionHead(8, 5, hidden=1), ConvProjectionHead(8, 5), ConvProjectionHead(8, 5, batch_norm=True)):
        torch.testing.assert_close(head(x).norm(dim=1), torch.ones(4))
    dropping = ProjectionHead(8, 5, dropout=0.5)
    assert not torch.equal(dropping(x), dropping(x)) and torch.equal(dropping.eval()(x), dropping(x))
    head = ProjectionHead(8, 5, unit=False)
    torch.testing.assert_close(head(x), head.layers[0](x.mean((2, 3, 4))))
    torch.testing.assert_close(head(x.mean((2, 3, 4))), head(x))
