"""Files of random weights for timm's models, in several namings; nothing is downloaded."""

import re
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file


def random_state(name: str) -> dict[str, torch.Tensor]:
    """Weights of which none is zero or one, as timm's initial ones are, so that each layer matters."""
    torch.manual_seed(0)
    with torch.device("meta"):  # timm's own initialisation takes much longer
        shapes = timm.create_model(name).state_dict()
    state = {}
    for key, value in shapes.items():
        spread = (2 / value[0].numel()) ** 0.5 if value.ndim in (2, 4) else 0.1
        state[key] = (torch.randn(value.shape) * spread).to(value.dtype)
        if key.endswith("running_var"):
            state[key].uniform_(0.5, 2)
        elif value.ndim == 1 and key.endswith("weight"):
            state[key] += 1
    return state


def write_weights(path: Path, state: dict) -> Path:
    """As safetensors or by torch.save, whichever the suffix names."""
    (save_file if path.suffix == ".safetensors" else torch.save)(state, path)
    return path


def as_openclip(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names of OpenCLIP for a CLIP tower, with a text tower beside it."""
    names = {
        "patch_embed.proj": "conv1",
        "norm_pre": "ln_pre",
        "blocks.": "transformer.resblocks.",
        "attn.qkv.": "attn.in_proj_",
        "attn.proj": "attn.out_proj",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        ".norm1": ".ln_1",
        ".norm2": ".ln_2",
    }
    found = {"logit_scale": torch.ones(()), "token_embedding.weight": torch.ones(5, 4)}
    for key, value in state.items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        found["visual." + re.sub(r"^norm\.", "ln_post.", key)] = value
    found["visual.class_embedding"] = found.pop("visual.cls_token").flatten()
    found["visual.positional_embedding"] = found.pop("visual.pos_embed")[0]
    found["visual.proj"] = found.pop("visual.head.weight").T.contiguous()
    del found["visual.head.bias"]
    return found


def as_dinov2(state: dict[str, torch.Tensor]) -> dict:
    """The names of DINOv2 with registers, in a `model`; its class token has a position embedding of its own."""
    found = {key: value for key, value in state.items() if not key.startswith("head.")}
    position = torch.full_like(state["cls_token"], 0.5)
    found["pos_embed"] = torch.cat([position, state["pos_embed"]], dim=1)
    found["cls_token"] = state["cls_token"] - position
    found["register_tokens"] = found.pop("reg_token")
    found["mask_token"] = torch.zeros(1, position.shape[-1])
    return {"model": found}


def as_original_convnext(state: dict[str, torch.Tensor]) -> dict:
    """The names of ConvNeXt's authors, in a `state_dict`, as DataParallel left them."""
    patterns = {
        r"^stem\.": "downsample_layers.0.",
        r"^stages\.(\d+)\.downsample\.": r"downsample_layers.\1.",
        r"\.blocks\.": ".",
        "conv_dw": "dwconv",
        r"mlp\.fc": "pwconv",
        r"^head\.norm": "norm",
        r"^head\.fc": "head",
    }
    found = {}
    for key, value in state.items():
        for ours, theirs in patterns.items():
            key = re.sub(ours, theirs, key)
        found["module." + key] = value
    return {"state_dict": found}
