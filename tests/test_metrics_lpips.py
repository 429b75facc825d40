"""LPIPS: the architecture and arithmetic against another implementation with the same weights."""

import sys

import pytest
import torch
import torch.nn.functional as F

from ispkit.core.errors import FileError, ParamError, ShapeError
from ispkit.metrics.backbones import FEATURES, backbone
from ispkit.metrics.lpips import Lpips, lpips

OTHER_NAMES = {"alex": "alex", "vgg16": "vgg", "squeeze": "squeeze"}


def body_file(name: str, folder, seed: int = 0):
    """Seeded random weights of a whole network, laid out and named as torchvision's file."""
    torch.manual_seed(seed)
    weights = {f"features.{k}": v for k, v in backbone(name).state_dict().items()}
    weights["classifier.6.weight"] = torch.zeros(2, 2)
    torch.save(weights, folder / f"{name}.pth")
    return folder / f"{name}.pth"


def heads_file(name: str, folder):
    """Heads as LPIPS v0.1 lays them out: non-negative, one per compared layer."""
    g = torch.Generator().manual_seed(1)
    weights = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1, generator=g) for i, (_, c) in enumerate(FEATURES[name])}
    torch.save(weights, folder / f"{name}_heads.pth")
    return folder / f"{name}_heads.pth"


def pair(size=(70, 83)) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(4)
    a = torch.rand(2, 3, *size, generator=g)
    return a, (a + 0.1 * torch.randn(a.shape, generator=g)).clamp(0, 1)


@pytest.fixture
def other(monkeypatch):
    """The LPIPS module of torchmetrics, which trips over the stand-in that colour-science leaves for matplotlib."""
    for name in [n for n, m in sys.modules.items() if n.startswith("matplotlib") and not getattr(m, "__spec__", None)]:
        monkeypatch.delitem(sys.modules, name)
    pytest.importorskip("torchmetrics")
    import torchmetrics.functional.image.lpips

    return torchmetrics.functional.image.lpips


@pytest.mark.parametrize("name", FEATURES)
def test_equals_torchmetrics_with_the_same_weights(name, other, tmp_path, monkeypatch):
    model = Lpips.load(body_file(name, tmp_path), heads_file(name, tmp_path), name=name)
    monkeypatch.setattr(other, "_get_tv_model_features", lambda net, pretrained=False: model.features)
    theirs = other._LPIPS(pretrained=False, net=OTHER_NAMES[name], pnet_rand=True).eval()
    for own, head in zip(theirs.lins, model.heads, strict=True):
        own.model[-1].weight.data.copy_(head.weight)
    a, b = pair()
    truth = theirs(a, b, normalize=True).flatten()
    torch.testing.assert_close(lpips(a, b, data_range=1.0, model=model), truth, rtol=1e-4, atol=0)


def by_hand_alex(a, b, body, heads) -> torch.Tensor:
    """LPIPS on AlexNet spelled out with functions, from the two files alone."""
    shift, scale = (torch.tensor(v).reshape(1, 3, 1, 1) for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    features = []
    for picture in (a, b):
        x, found = (2 * picture - 1 - shift) / scale, []
        for index, stride, padding in ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)):
            x = F.max_pool2d(x, 3, 2) if index in (3, 6) else x
            x = F.relu(F.conv2d(x, body[f"features.{index}.weight"], body[f"features.{index}.bias"], stride, padding))
            found.append(x / x.norm(dim=1, keepdim=True))
        features.append(found)
    terms = [
        ((f - g) ** 2 * heads[f"lin{i}.model.1.weight"]).sum(1).mean((1, 2))
        for i, (f, g) in enumerate(zip(*features, strict=True))
    ]
    return sum(terms)


def test_equals_the_definition_with_the_published_heads(shared, tmp_path):
    body = body_file("alex", tmp_path)
    heads = shared / "iqa_params" / "lpips_lin_v0.1_alex.pth"
    model = Lpips.load(body, heads)
    a, b = pair()
    read = [torch.load(f, weights_only=True, map_location="cpu") for f in (body, heads)]
    torch.testing.assert_close(lpips(a, b, data_range=1.0, model=model), by_hand_alex(a, b, *read), rtol=1e-5, atol=0)


@pytest.mark.parametrize(("name", "file"), [("alex", "alex"), ("vgg16", "vgg"), ("squeeze", "squeeze")])
def test_published_heads_fit_their_backbone(name, file, shared, tmp_path):
    heads = shared / "iqa_params" / f"lpips_lin_v0.1_{file}.pth"
    model = Lpips.load(body_file(name, tmp_path), heads, name=name)
    assert all(float(h.weight.min()) >= 0 for h in model.heads)
    assert not any(p.requires_grad for p in model.parameters())


def test_parameter_counts_are_those_of_the_published_networks():
    counts = {n: sum(p.numel() for p in backbone(n).parameters()) for n in FEATURES}
    # torchvision: whole network less its classifier
    assert counts == {"alex": 61100840 - 58631144, "vgg16": 138357544 - 123642856, "squeeze": 1235496 - 513000}


def test_safetensors_and_bare_feature_names_load_too(tmp_path):
    body, heads = body_file("squeeze", tmp_path), heads_file("squeeze", tmp_path)
    weights = torch.load(body, weights_only=True)
    bare = {k.removeprefix("features."): v.contiguous() for k, v in weights.items()}
    pytest.importorskip("safetensors.torch").save_file(bare, tmp_path / "bare.safetensors")
    a, b = pair()
    values = [
        lpips(a, b, data_range=1.0, model=Lpips.load(f, heads, name="squeeze"))
        for f in (body, tmp_path / "bare.safetensors")
    ]
    assert torch.equal(*values)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_that_hold_no_weights_are_refused(suffix, tmp_path):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    (tmp_path / f"junk{suffix}").write_bytes(b"not weights at all")
    with pytest.raises(FileError, match=f"junk{suffix}: not a file of plain weights"):
        Lpips.load(tmp_path / f"junk{suffix}", tmp_path / "none.pth")


def test_missing_and_wrong_files_say_what_to_bring(tmp_path):
    body, heads = body_file("alex", tmp_path), heads_file("alex", tmp_path)
    with pytest.raises(FileError, match=r"none.pth: no such file.*alexnet-owt-7be5be79.pth: download it"):
        Lpips.load(tmp_path / "none.pth", heads)
    with pytest.raises(FileError, match=r"linear heads of LPIPS v0.1, published as vgg.pth"):
        Lpips.load(body_file("vgg16", tmp_path), tmp_path / "none.pth", name="vgg16")
    with pytest.raises(FileError, match=r"has no weight '0\.weight'"):
        Lpips.load(heads, heads)
    with pytest.raises(FileError, match=r"should be \(64, 3, 3, 3\)"):
        Lpips.load(body, heads, name="squeeze")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(FileError, match="no dictionary of tensors"):
        Lpips.load(tmp_path / "list.pth", heads)
    with pytest.raises(ParamError, match="did you mean 'alex'"):
        Lpips("alexnet")
    a, model = torch.rand(1, 3, 40, 80), Lpips.load(body, heads)
    with pytest.raises(ShapeError, match="64x64"):
        lpips(a, a, data_range=1.0, model=model)
