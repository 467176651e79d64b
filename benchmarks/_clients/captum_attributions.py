"""captum's methods on BIOT, with all channels and with one that is absent.

A method that gives a value to each sample is held to what is known of it; a channel that is absent
(NaN throughout) must get none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from _clients.checks import FAILS, REFUSED, WORKS, check, missing, same, true
from _clients.world import World, net

CLIENT = "captum"
VARIANTS = ("all channels", "one channel absent")
N, N_STEPS = 2, 64


def model_and_windows(world: World, variant: str) -> tuple[nn.Module, Tensor]:
    """Return a fitted module in eval mode and two windows, the third channel absent if asked."""
    missing("captum")
    x, y, groups = world.arrays
    module = net(max_epochs=3).fit(x, y, groups=groups).module_.eval()
    windows = torch.from_numpy(x[:N].copy())
    if variant != VARIANTS[0]:
        windows[:, 2] = torch.nan
    return module, windows


def attributes(
    tool: str, what: str, *, expected: str = WORKS, absent: str | None = None, why: str = ""
) -> Callable[..., Any]:
    """Register ``run(module, windows, baseline)`` for windows with and without absent channels."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @check(CLIENT, tool, what, expected=dict(zip(VARIANTS, (expected, absent or expected), strict=True)), why=why)
        def run(world: World, variant: str) -> None:
            module, windows = model_and_windows(world, variant)
            function(module, windows, torch.where(windows.isnan(), windows, 0.0))

        return function

    return register


def logits(module: nn.Module, windows: Tensor) -> Tensor:
    with torch.no_grad():
        return module(windows)[:, 1]


def check_complete(module: nn.Module, found: Tensor, windows: Tensor, baseline: Tensor, tolerance: float) -> None:
    """The values of a window sum to the difference that its logit makes to the baseline."""
    check_absent(found, windows)
    difference = logits(module, windows) - logits(module, baseline)
    error = (found.nansum(dim=(1, 2)) - difference).abs().max() / difference.abs().max()
    true(error <= tolerance, f"values sum to the difference of logits (off by {float(error):.1%})")


def check_absent(found: Tensor, windows: Tensor) -> None:
    absent = windows.isnan()
    true(bool(found[~absent].isfinite().all()), "values of present channels are numbers")
    if absent.any():
        true(bool((found[absent].nan_to_num() == 0).all()), "an absent channel gets no value")
    true(bool((found[~absent] != 0).any()), "there is a value that is not 0")


ABSENT_DIFFERENCE = (
    "captum's step between input and baseline is NaN - NaN in an absent channel: 0 or NaN there, read as none"
)


@attributes("Saliency", "equals |gradient| of the logit")
def saliency(module: nn.Module, windows: Tensor, baseline: Tensor) -> None:
    from captum.attr import Saliency

    found = Saliency(module).attribute(windows.clone().requires_grad_(), target=1)
    given = windows.clone().requires_grad_()
    module(given)[:, 1].sum().backward()
    same(found.nan_to_num(), given.grad.abs().nan_to_num(), "gradients", 1e-6)
    check_absent(found, windows)


@attributes("InputXGradient", "equals input times gradient of the logit")
def input_x_gradient(module: nn.Module, windows: Tensor, baseline: Tensor) -> None:
    from captum.attr import InputXGradient

    found = InputXGradient(module).attribute(windows.clone().requires_grad_(), target=1)
    given = windows.clone().requires_grad_()
    module(given)[:, 1].sum().backward()
    same(found.detach().nan_to_num(), (windows * given.grad).nan_to_num(), "products", 1e-6)
    check_absent(found.detach(), windows)


@attributes(
    "IntegratedGradients", "values sum to the difference of logits from silence (within 5 %)", why=ABSENT_DIFFERENCE
)
def integrated_gradients(module: nn.Module, windows: Tensor, baseline: Tensor) -> None:
    from captum.attr import IntegratedGradients

    found = IntegratedGradients(module).attribute(windows, baseline, target=1, n_steps=N_STEPS)
    check_complete(module, found.detach(), windows, baseline, 0.05)


@attributes("GradientShap", "the mean over 512 draws sums to the difference of logits (within 25 %)")
def gradient_shap(module: nn.Module, windows: Tensor, baseline: Tensor) -> None:
    from captum.attr import GradientShap

    torch.manual_seed(0)
    found = GradientShap(module).attribute(windows, baseline, target=1, n_samples=512, stdevs=0.0)
    check_complete(module, found.detach(), windows, baseline, 0.25)


@attributes(
    "DeepLift",
    "values sum to the difference of logits (within 5 %)",
    expected=FAILS,
    why="its rules know no attention: the products of inputs there get plain gradients",
)
def deep_lift(module: nn.Module, windows: Tensor, baseline: Tensor) -> None:
    from captum.attr import DeepLift

    found = DeepLift(module).attribute(windows, baseline, target=1)
    check_complete(module, found.detach(), windows, baseline, 0.05)


@attributes("FeatureAblation", "of channels: equals the differences of logits without each, by hand")
def feature_ablation(module: nn.Module, windows: Tensor, baseline: Tensor) -> None:
    from captum.attr import FeatureAblation

    channels = torch.arange(windows.shape[1])[:, None].repeat(1, windows.shape[2])[None]
    found = FeatureAblation(module).attribute(windows, baseline, target=1, feature_mask=channels)
    check_ablated(module, found, windows, baseline)


@attributes(
    "FeatureAblation, baseline NaN",
    "of channels: equals the differences of logits with each absent, by hand",
    expected=REFUSED,
    why="captum mixes input and baseline by multiplying with 0 and 1, and NaN times 0 is NaN: all channels are absent",
)
def absent_ablation(module: nn.Module, windows: Tensor, baseline: Tensor) -> None:
    from captum.attr import FeatureAblation

    channels = torch.arange(windows.shape[1])[:, None].repeat(1, windows.shape[2])[None]
    nowhere = torch.full_like(windows, torch.nan)
    found = FeatureAblation(module).attribute(windows, nowhere, target=1, feature_mask=channels)
    check_ablated(module, found, windows, nowhere)


@attributes("Occlusion", "of channels: equals the differences of logits without each, by hand")
def occlusion(module: nn.Module, windows: Tensor, baseline: Tensor) -> None:
    from captum.attr import Occlusion

    shape = (1, windows.shape[2])
    found = Occlusion(module).attribute(
        windows, sliding_window_shapes=shape, strides=shape, baselines=baseline, target=1
    )
    check_ablated(module, found, windows, baseline)


def check_ablated(module: nn.Module, found: Tensor, windows: Tensor, other: Tensor) -> None:
    full = logits(module, windows)
    for channel in range(windows.shape[1]):
        changed = windows.clone()
        changed[:, channel] = other[:, channel]
        truth = full - logits(module, changed)
        same(found[:, channel, 0].detach(), truth, f"channel {channel}", 1e-4)
    check_absent(found.detach(), windows)


@attributes("ShapleyValueSampling", "of channels: values sum to the difference of logits (1e-4)")
def shapley(module: nn.Module, windows: Tensor, baseline: Tensor) -> None:
    from captum.attr import ShapleyValueSampling

    torch.manual_seed(0)
    channels = torch.arange(windows.shape[1])[:, None].repeat(1, windows.shape[2])[None]
    found = ShapleyValueSampling(module).attribute(windows, baseline, target=1, feature_mask=channels, n_samples=2)
    difference = logits(module, windows) - logits(module, baseline)
    same(found[:, :, 0].sum(dim=1), difference, "sums", 1e-4)


@attributes("NoiseTunnel(Saliency)", "without noise equals Saliency; with noise, values are numbers")
def noise_tunnel(module: nn.Module, windows: Tensor, baseline: Tensor) -> None:
    from captum.attr import NoiseTunnel, Saliency

    plain = Saliency(module).attribute(windows.clone().requires_grad_(), target=1)
    quiet = NoiseTunnel(Saliency(module)).attribute(
        windows.clone().requires_grad_(), target=1, nt_samples=2, nt_type="smoothgrad", stdevs=0.0
    )
    same(quiet.nan_to_num(), plain.nan_to_num(), "values", 1e-6)
    noisy = NoiseTunnel(Saliency(module)).attribute(
        windows.clone().requires_grad_(), target=1, nt_samples=4, nt_type="smoothgrad", stdevs=0.1
    )
    check_absent(noisy.detach(), windows)


@attributes("LayerActivation", "equals what a hook on the layer sees")
def layer_activation(module: nn.Module, windows: Tensor, baseline: Tensor) -> None:
    from captum.attr import LayerActivation

    layer, seen = module.final_layer, []
    handle = layer.register_forward_hook(lambda *args: seen.append(args[-1].detach()))
    truth = logits(module, windows)
    handle.remove()
    found = LayerActivation(module, layer).attribute(windows)
    same(found.detach(), seen[0], "activations")
    same(found[:, 1].detach(), truth, "logits", 1e-5)


@attributes("LayerIntegratedGradients", "of what the head is given: sums to the difference of logits (5 %)")
def layer_integrated_gradients(module: nn.Module, windows: Tensor, baseline: Tensor) -> None:
    from captum.attr import LayerIntegratedGradients

    check_layer(LayerIntegratedGradients, module, windows, baseline)


@attributes("LayerConductance", "of what the head is given: sums to the difference of logits (5 %)")
def layer_conductance(module: nn.Module, windows: Tensor, baseline: Tensor) -> None:
    from captum.attr import LayerConductance

    check_layer(LayerConductance, module, windows, baseline, n_steps=512)  # its sum converges slowly


def check_layer(method: Any, module: nn.Module, windows: Tensor, baseline: Tensor, n_steps: int = N_STEPS) -> None:
    """All of a window passes through the input of the head, so its values are complete."""
    found = method(module, module.final_layer).attribute(
        windows, baseline, target=1, n_steps=n_steps, attribute_to_layer_input=True
    )
    found = found[0] if isinstance(found, tuple) else found
    difference = logits(module, windows) - logits(module, baseline)
    error = (found.detach().flatten(1).sum(1) - difference).abs().max() / difference.abs().max()
    true(error < 0.05, f"values sum to the difference of logits (off by {float(error):.1%})")


@attributes(
    "LayerGradCam",
    "of the last layer: a value for each token",
    expected=FAILS,
    why="takes dimension 1 for the channels of a picture; in a transformer it holds tokens, and what is left are features",
)
def layer_grad_cam(module: nn.Module, windows: Tensor, baseline: Tensor) -> None:
    from captum.attr import LayerGradCam

    norm = [m for m in module.encoder.modules() if isinstance(m, nn.LayerNorm)][-1]
    seen: list[Tensor] = []
    handle = norm.register_forward_hook(lambda *args: seen.append(args[-1]))
    logits(module, windows)
    handle.remove()
    found = LayerGradCam(module, norm).attribute(windows, target=1)
    true(found.shape[-1] == seen[0].shape[1], f"{seen[0].shape[1]} values a window, found {found.shape[-1]}")


@attributes("LRP", "values sum to the logit (5 %)", expected=FAILS, why="has no rule for LayerNorm and attention")
def relevance(module: nn.Module, windows: Tensor, baseline: Tensor) -> None:
    from captum.attr import LRP

    found = LRP(module).attribute(windows, target=1)
    total, truth = found.nansum(dim=(1, 2)).detach(), logits(module, windows)
    true(bool(((total - truth).abs() <= 0.05 * truth.abs()).all()), "values sum to the logit")


@attributes("GuidedBackprop", "equals the gradient of the logit", why="it changes ReLUs only, and BIOT has none")
def guided(module: nn.Module, windows: Tensor, baseline: Tensor) -> None:
    from captum.attr import GuidedBackprop

    found = GuidedBackprop(module).attribute(windows.clone().requires_grad_(), target=1)
    given = windows.clone().requires_grad_()
    module(given)[:, 1].sum().backward()
    same(found.detach().nan_to_num(), given.grad.nan_to_num(), "gradients", 1e-6)
    check_absent(found.detach(), windows)
