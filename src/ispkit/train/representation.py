"""What DiR learns from: losses that have networks of their own, which are trained with it and then thrown away.

Guo, Zhang, Wu, "Learning Degradation-Independent Representations for Camera ISP Pipelines", CVPR 2024, equations 1-8. A
loss is built of the net and called with what the net reads, the clean picture in the same units, and the number of
views: x and target (B, 3, H, W), pictures x views frames, the views of a picture one after the other. Draws of a
posterior are of torch's global generator.

Units, which the paper leaves open. Every term is a mean, so that the trade-offs mean the same for any size of window,
cell and batch: I is the bound of equation 1 a cell of the representation, in nats, between -2 ln 2 (nothing known) and
0; KL is a mean over the numbers of a cell as well, nats a number; |.|_1 is a mean over values. Weights for a KL that
is summed over a cell's `latent` numbers are `latent` times smaller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.core.errors import ParamError, ShapeError
from ispkit.nets.dir import DirNet
from ispkit.nets.dir_critics import Critic, JointEncoder
from ispkit.nets.picture_net import PictureNet

Prior = Literal["marginal", "posterior"]
_LOG_VARIANCE = 10.0
"""log-variances are cut at +- this, sigma 0.0067 to 148: past it exp is of no use to a gradient"""


class Gaussian(NamedTuple):
    """A diagonal Gaussian over representations, each (B, latent, h, w)."""

    mean: Tensor
    log_variance: Tensor

    @staticmethod
    def of(moments: tuple[Tensor, Tensor]) -> Gaussian:
        """What an encoder gives, at least in float32, its log-variance cut to [-10, 10]."""
        mean, log_variance = (full(m) for m in moments)
        return Gaussian(mean, log_variance.clamp(-_LOG_VARIANCE, _LOG_VARIANCE))

    def draw(self) -> Tensor:
        """One sample, through which gradients reach both moments (Kingma, Welling 2014)."""
        return self.mean + torch.exp(self.log_variance / 2) * torch.randn_like(self.mean)


def full(x: Tensor) -> Tensor:
    """What autocast made half precision as float32; float64 stays."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def jsd_bound(joint: Tensor, marginal: Tensor) -> Tensor:
    """Lower bound of the Jensen-Shannon information by a critic's logits; equation 1. Higher is better, below 0.

    E_J[-softplus(-F)] - E_M[softplus(F)]: `joint` are logits of pairs that belong together, `marginal` of pairs that do
    not, any shapes. -2 ln 2 where the critic tells nothing apart, 0 where it is certain and right (Nowozin, Cseke,
    Tomioka, "f-GAN", 2016).
    """
    return -F.softplus(-full(joint)).mean() - F.softplus(full(marginal)).mean()


def kl_of(p: Gaussian, q: Gaussian) -> Tensor:
    """KL(p || q), a mean over all numbers: nats a number."""
    spread = torch.exp(p.log_variance - q.log_variance)
    apart = (p.mean - q.mean).square() * torch.exp(-q.log_variance)
    return (spread + apart - 1 + q.log_variance - p.log_variance).mean() / 2


def kl_from_prior(p: Gaussian, prior: Prior = "marginal") -> Tensor:
    """KL of p(r) from N(0, I), a mean over the numbers of a cell: nats a number.

    "posterior": of p(r | x), the mean over pictures and cells, as in a VAE. "marginal": of p(r) itself, which is what
    equations 5 and 6 print and what InfoVAE (Zhao, Song, Ermon 2019) keeps: of the Gaussian that has the mean and
    variance of each channel over all pictures and cells of the batch. That is a lower bound, short of the marginal's
    own distance from a Gaussian, and it does not pay for knowing x.
    """
    if prior == "posterior":
        return kl_of(p, Gaussian(torch.zeros_like(p.mean), torch.zeros_like(p.mean)))
    variance, mean = torch.var_mean(p.mean, (0, 2, 3), correction=0)
    variance = variance + p.log_variance.exp().mean((0, 2, 3))
    return (variance + mean.square() - 1 - variance.log()).mean() / 2


class MutualInformation(nn.Module):
    """L0 of DiRNet: what V views share; equations 2 to 5, for any V of at least 2. Trains `dir` alone.

    -mean_v I(r; x_v) + `weight_kl_views` mean_v KL(p(r | x_1 .. x_V) || p(r | x_v)) + `beta` KL(p(r) || N(0, I)).

    Proposition 2 bounds the information that r has of one view and not of the others, I(r; x_1 | x_2), by the second
    term. So r is a draw of the joint posterior, an auxiliary encoder's of all views (as in Hwang et al., "Variational
    Interaction Information Maximization for Cross-domain Disentanglement", 2020); DiRNet learns through the KL to say
    from one view what the joint says from all. Equation 1's marginal pairs are the representations of the next picture
    of the batch, never another view of the same one. Raises `ParamError` for wrong options.
    """

    def __init__(
        self,
        net: PictureNet,
        *,
        weight_kl_views: float = 1.0,
        beta: float = 1e-3,
        prior: Prior = "marginal",
        views: int = 2,
    ) -> None:
        super().__init__()
        shape = _dir_net(net, "mutual-information").shape
        _check("mutual-information", prior, weight_kl_views=weight_kl_views, beta=beta)
        if views < 2:
            raise ParamError(f"mutual-information: views={views} must be at least 2; one view shares with nothing")
        self.weight_kl_views, self.beta, self.prior, self.views = weight_kl_views, beta, prior, views
        self.critic, self.joint = Critic(shape), JointEncoder(shape, views)

    def forward(self, net: PictureNet, x: Tensor, target: Tensor, views: int) -> Tensor:
        """The loss; `target` is not looked at. Raises `ShapeError`."""
        told = self.parts(net, x, target, views)
        return -told["information"] + self.weight_kl_views * told["kl_views"] + self.beta * told["kl_prior"]

    def parts(self, net: PictureNet, x: Tensor, target: Tensor, views: int) -> dict[str, Tensor]:
        """The three expectations, not weighted. Raises `ShapeError`."""
        if views != self.views:
            law = f"views must be {self.views}; say views: {self.views} in the recipe's data, or here the data's number"
            raise ShapeError(f"mutual-information: {views} view(s) a picture; {law}")
        _pictures("mutual-information", x, views)
        each = Gaussian.of(_dir_net(net, "mutual-information").dir(x))
        joint = Gaussian.of(self.joint(x))
        r = joint.draw().repeat_interleave(views, 0)
        known = Gaussian(*(m.repeat_interleave(views, 0) for m in joint))
        return {
            "information": _information(self.critic, x, r, views),
            "kl_views": kl_of(known, each),
            "kl_prior": kl_from_prior(each, self.prior),
        }


class Reference(nn.Module):
    """L* of DfRNet and its decoder, of clean pictures alone; equation 6. Trains `dfr` and `decoder`.

    -`information` I(r*; y*) + |D*(r*) - y*|_1 + `beta` KL(p(r*) || N(0, I)), r* a draw of DfRNet's posterior. The paper
    has beta* = 1. Raises `ParamError` for wrong options.
    """

    def __init__(
        self, net: PictureNet, *, beta: float = 1.0, information: float = 1.0, prior: Prior = "marginal"
    ) -> None:
        super().__init__()
        shape = _dir_net(net, "reference").shape
        _check("reference", prior, information=information, beta=beta)
        self.beta, self.information, self.prior = beta, information, prior
        self.critic = Critic(shape) if information else None

    def forward(self, net: PictureNet, x: Tensor, target: Tensor, views: int) -> Tensor:
        """The loss; x is not looked at. Raises `ShapeError`."""
        told = self.parts(net, x, target, views)
        loss = told["distance"] + self.beta * told["kl_prior"]
        return loss - self.information * told["information"] if self.critic else loss

    def picture(self, net: PictureNet, target: Tensor) -> Tensor:
        """What the decoder makes of the mean representation of clean pictures: the best that stage two can give."""
        net = _dir_net(net, "reference")
        made: Tensor = net.decoder(net.dfr(target)[0])
        return made

    def parts(self, net: PictureNet, x: Tensor, target: Tensor, views: int) -> dict[str, Tensor]:
        """The expectations, not weighted; without "information" where it has no weight. Raises `ShapeError`."""
        net = _dir_net(net, "reference")
        clean = target[::views]
        if self.critic:
            _pictures("reference", clean, 1)
        p = Gaussian.of(net.dfr(clean))
        r = p.draw()
        told = {"distance": F.l1_loss(full(net.decoder(r)), clean), "kl_prior": kl_from_prior(p, self.prior)}
        if self.critic:
            told["information"] = _information(self.critic, clean, r, 1)
        return told


class Alignment(nn.Module):
    """|r+ - r*|_1, the first term of equation 8: where the alignment network is to lead. Trains `align`.

    r* is DfRNet's mean of the clean picture, without gradients. Raises `ParamError` where `align` is a decoder.
    """

    def __init__(self, net: PictureNet) -> None:
        super().__init__()
        if _dir_net(net, "alignment").shape.align == "decoder":
            raise ParamError("alignment: align='decoder' has no refined representation; use align='pilot' or 'alone'")

    def forward(self, net: PictureNet, x: Tensor, target: Tensor, views: int) -> Tensor:
        """The mean over all numbers of the representation. Raises `ShapeError`."""
        return self.apart(net, _dir_net(net, "alignment").refined(x), target, views)

    def apart(self, net: PictureNet, refined: Tensor, target: Tensor, views: int) -> Tensor:
        """The same of r+ that was made already."""
        with torch.no_grad():
            wanted = _dir_net(net, "alignment").dfr(target[::views])[0].repeat_interleave(views, 0)
        return F.l1_loss(full(refined), full(wanted))


REPRESENTATION: Mapping[str, type[MutualInformation] | type[Reference] | type[Alignment]] = {
    "mutual-information": MutualInformation,
    "reference": Reference,
    "alignment": Alignment,
}
"""name -> loss, built of the net and its options"""


def _information(critic: Critic, x: Tensor, r: Tensor, views: int) -> Tensor:
    """The bound of I(r; x_v), the mean over views; marginal pairs are with the picture before."""
    features = critic.local(x)
    return jsd_bound(critic.score(features, r), critic.score(features, r.roll(views, 0)))


def _dir_net(net: PictureNet, who: str) -> DirNet:
    if not isinstance(net, DirNet):
        raise ParamError(f"{who}: {type(net).__name__} has no representations; it is a loss of the learned ISP 'dir'")
    return net


def _pictures(who: str, x: Tensor, views: int) -> None:
    if len(x) % views:
        raise ShapeError(f"{who}: {len(x)} frames are not whole pictures of {views} views")
    if len(x) // views < 2:
        raise ShapeError(f"{who}: a batch of one picture has no pairs that do not belong together; use at least 2")


def _check(who: str, prior: str, **weights: float) -> None:
    if prior not in ("marginal", "posterior"):
        raise ParamError(f"{who}: prior={prior!r} must be marginal or posterior")
    for name, value in weights.items():
        if not value >= 0:
            raise ParamError(f"{who}: {name}={value} must be at least 0")
