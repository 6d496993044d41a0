"""LoRA on all linear layers of a student, put in and folded back in place."""

import torch
from torch import nn


def add(model: nn.Module, rank: int, seed: int) -> None:
    """Freeze the weights and train a low-rank sum beside every linear layer (arXiv 2106.09685)."""
    from peft import LoraConfig, inject_adapter_in_model

    torch.manual_seed(seed)
    # The projection inside nn.MultiheadAttention is read as a bare weight: a layer beside it would
    # never be called.
    inner = {id(p.out_proj) for p in model.modules() if isinstance(p, nn.MultiheadAttention)}
    names = [
        name
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear) and id(part) not in inner
    ]
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names, lora_dropout=0.0)
    inject_adapter_in_model(config, model)


def merge(model: nn.Module) -> None:
    """Fold every adapter into its weight and put the plain layers back."""
    from peft.tuners.lora import LoraLayer

    for name, part in list(model.named_modules()):
        if isinstance(part, LoraLayer):
            part.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, part.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
