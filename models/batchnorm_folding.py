"""In eval mode BatchNorm is linear, so that a convolution before it can do its work."""

from torch import Tensor, nn, no_grad
from torch.nn.utils.fusion import fuse_conv_bn_eval

TOLERANCE = 1e-4  # greatest change of a number of the output; rounding changes unit vectors by some 1e-6


@no_grad()
def fold_batchnorm(network: nn.Module, *inputs: Tensor) -> int:
    """Fold each BatchNorm layer that reads the output of a convolution into that convolution, in place.

    network: in eval mode. inputs: an example; if the folded network computes something else on it, nothing is changed.
    Returns how many layers were folded.
    """
    before, pairs = _run(network, inputs)
    names = {module: name for name, module in network.named_modules()}
    replaced = {names[part]: part for pair in pairs.items() for part in pair}
    try:
        for norm, convolution in pairs.items():
            _replace(network, names[convolution], fuse_conv_bn_eval(convolution, norm))
            _replace(network, names[norm], nn.Sequential(*norm.children()))  # activation and dropout of timm's BatchNormAct2d
        is_same = bool((network(*inputs) - before).abs().max() <= TOLERANCE)
    except Exception:  # a layer without statistics, or a network that reads attributes of the layers
        is_same = False
    if not is_same:
        for name, module in replaced.items():
            _replace(network, name, module)
    return len(pairs) if is_same else 0


def _run(network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, dict[nn.BatchNorm2d, nn.Conv2d]]:
    """The network's output, and {BatchNorm: convolution whose output it read}."""
    pairs: dict[nn.BatchNorm2d, nn.Conv2d] = {}
    latest: list[nn.Conv2d | Tensor] = []

    def after_convolution(layer: nn.Conv2d, _: tuple[Tensor, ...], output: Tensor) -> None:
        latest[:] = [layer, output]

    def before_norm(layer: nn.BatchNorm2d, read: tuple[Tensor, ...]) -> None:
        if latest and read[0] is latest[1] and isinstance(latest[0], nn.Conv2d):
            pairs[layer] = latest[0]

    layers = [layer for layer in network.modules() if not layer._forward_hooks and not layer._forward_pre_hooks]
    hooks = [layer.register_forward_hook(after_convolution) for layer in layers if type(layer) is nn.Conv2d]
    hooks += [layer.register_forward_pre_hook(before_norm) for layer in layers if isinstance(layer, nn.BatchNorm2d)]
    try:
        return network(*inputs), pairs
    finally:
        for hook in hooks:
            hook.remove()


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)
