"""Which family of models a file belongs to: said by its metadata, told by its tensors, or guessed from its name.

The tensors are those by which ComfyUI itself tells models apart (comfy/model_detection.py, comfy/sd.py).
"""

import re
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from services.model_headers import Header, Shape

Source = Literal["metadata", "tensors", "name"]

# Words of metadata and of file names. The first that fits counts.
_WORDS = tuple(
    (re.compile(rf"(?<![a-z0-9])(?:{pattern})(?![a-z])"), name)
    for pattern, name in (
        (r"flux[._ -]?2", "FLUX.2"),
        (r"flux[._ -]?1|flux[._ -]?(?:dev|schnell|kontext|krea|fill)", "FLUX.1"),
        (r"chroma1|chroma[._ -]?(?:hd|unlocked|radiance)", "Chroma"),
        (r"sd[._ -]?xl|sdxl|stable[._ -]?diffusion[._ -]?xl|illustrious(?:xl)?", "SDXL"),
        (r"sd[._ -]?v?3(?:[._]?5)?|stable[._ -]?diffusion[._ -]?v?3(?:[._]?5)?", "SD 3.x"),
        (r"sd[._ -]?v?2(?:[._]?[01])?|stable[._ -]?diffusion[._ -]?v?2(?:[._-]?[01])?", "SD 2.x"),
        (r"sd[._ -]?v?1(?:[._]?[45])?|stable[._ -]?diffusion[._ -]?v?1(?:[._-]?[45])?|v1-5", "SD 1.x"),
        (r"wan[._ -]?2[._ -]?2", "Wan 2.2"),
        (r"wan[._ -]?2[._ -]?1", "Wan 2.1"),
        (r"hunyuan[._ -]?video[._ -]?1[._]5", "Hunyuan Video 1.5"),
        (r"hunyuan[._ -]?video|hyvid", "Hunyuan Video"),
        (r"hunyuan[._ -]?image", "Hunyuan Image"),
        (r"hunyuan[._ -]?3d", "Hunyuan3D"),
        (r"ltx[._ -]?2", "LTX-2"),
        (r"ltx[._ -]?v(?:ideo)?", "LTX-Video"),
        (r"qwen[._ -]?image", "Qwen-Image"),
        (r"z[._ -]?image", "Z-Image"),
        (r"lumina[._ -]?(?:image[._ -]?)?2", "Lumina 2"),
        (r"hidream", "HiDream"),
        (r"cosmos[._ -]?(?:1|predict|transfer)\d*", "Cosmos"),
        (r"aura[._ -]?flow", "AuraFlow"),
        (r"pixart", "PixArt"),
        (r"mochi[._ -]?(?:1|preview)", "Mochi"),
        (r"omnigen[._ -]?2", "OmniGen2"),
        (r"ace[._ -]?step", "ACE-Step"),
        (r"stable[._ -]?cascade", "Stable Cascade"),
        (r"stable[._ -]?audio", "Stable Audio"),
        (r"svd|stable[._ -]?video[._ -]?diffusion", "Stable Video Diffusion"),
        (r"umt5[._ -]?xxl", "UMT5-XXL"),
        (r"t5[._ -]?xxl", "T5-XXL"),
        (r"clip[._ -]?l", "CLIP-L"),
        (r"clip[._ -]?g", "CLIP-G"),
    )
)

# Tensors that only one family has, in ComfyUI's order: later ones are in earlier families too.
_MARKERS = (
    ("joint_blocks.0.context_block.attn.qkv.weight", "SD 3.x"),
    ("clf.1.weight", "Stable Cascade"),
    ("transformer.rotary_pos_emb.inv_freq", "Stable Audio"),
    ("double_layers.0.attn.w1q.weight", "AuraFlow"),
    ("mlp_t5.0.weight", "Hunyuan-DiT"),
    ("cond_type_embedding.weight", "Hunyuan Video 1.5"),
    ("txt_in.individual_token_refiner.blocks.0.norm1.weight", "Hunyuan Video"),
    ("double_stream_modulation_img.lin.weight", "FLUX.2"),
    ("distilled_guidance_layer.0.norms.0.scale", "Chroma"),
    ("distilled_guidance_layer.norms.0.scale", "Chroma"),
    ("t5_yproj.weight", "Mochi"),
    ("genre_embedder.weight", "ACE-Step"),
    ("t_block.1.weight", "PixArt"),
    ("blocks.block0.blocks.0.block.attn.to_q.0.weight", "Cosmos"),
    ("head.modulation", "Wan 2.x"),
    ("latent_in.weight", "Hunyuan3D"),
    ("caption_projection.0.linear.weight", "HiDream"),
    ("blocks.0.mlp.layer1.weight", "Cosmos"),
    ("time_caption_embed.timestep_embedder.linear_1.bias", "OmniGen2"),
    ("txt_norm.weight", "Qwen-Image"),
)

# The width of the text that the attention of a UNet reads.
_UNETS = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL", 1280: "SDXL Refiner"}
_LUMINAS = {2304: "Lumina 2", 3840: "Z-Image"}
# The widths of a text encoder's keys, and of its layers.
_QWENS = {256: "Qwen2.5 3B", 512: "Qwen2.5 7B"}
_LLAMAS = {4096: "Llama 3", 5120: "Mistral 3"}
_UNET_PARTS = ("input_blocks", "down_blocks")
_LORA_PARTS = (".lora_down.", ".lora_A.", ".lora.down.")

# What GGUF files of diffusion models call their architecture, where no word above does.
_GGUF_NAMES = {"sd1": "SD 1.x", "sdxl": "SDXL", "sd3": "SD 3.x", "flux": "FLUX.1", "aura": "AuraFlow", "wan": "Wan 2.x"}

# What metadata says is told by its first words. One of many megabytes would be searched for each of `_WORDS`, and
# nothing else in the process goes on meanwhile.
_SAID_MAX = 1000
_SAYS = ("modelspec.architecture", "ss_base_model_version", "general.architecture")


class BaseModel(Struct, frozen=True):
    """`source`: what told it."""

    name: str
    source: Source


def base_model(folder: str, name: str, header: Header) -> BaseModel | None:
    """Of the model `name` in `folder`; None when nothing tells."""
    for key in _SAYS:
        said = header.metadata.get(key, "")[:_SAID_MAX].lower()
        if found := _by_words(said) or _GGUF_NAMES.get(said):
            return BaseModel(found, "metadata")
    by_tensors = _text_encoder(header.shapes) if folder == "text_encoders" else _by_tensors(header.shapes)
    if by_tensors is not None:
        return BaseModel(by_tensors, "tensors")
    guessed = _by_words(name.rsplit("/", 1)[-1].lower())
    return BaseModel(guessed, "name") if guessed else None


def _by_words(text: str) -> str | None:
    return next((name for pattern, name in _WORDS if pattern.search(text)), None)


def _by_tensors(shapes: Mapping[str, Shape]) -> str | None:
    prefix = next((p for p in ("model.diffusion_model.", "diffusion_model.", "net.") if _has(shapes, p)), "")

    def shape(name: str) -> Shape | None:
        return shapes.get(prefix + name)

    def width(name: str) -> int:
        """The first dimension, 0 where there is none."""
        return (shape(name) or (0,))[0] if shape(name) != () else 0

    if shape("cap_embedder.1.weight"):
        return _LUMINAS.get(width("cap_embedder.1.weight"))
    found = next((name for marker, name in _MARKERS if shape(marker) is not None), None)
    if found == "Hunyuan Video" and len(shape("img_in.proj.weight") or ()) == 4:
        # It has no frames.
        return "Hunyuan Image"
    if found == "Wan 2.x" and width("head.head.weight") == 192:
        # 48 channels in patches of 2 by 2: only the autoencoder of 2.2 has them.
        return "Wan 2.2"
    if found is not None:
        return found
    if shape("double_blocks.0.img_attn.norm.key_norm.scale") is not None and shape("img_in.weight") is not None:
        return "FLUX.1"
    if shape("adaln_single.emb.timestep_embedder.linear_1.bias") is not None:
        # PixArt as diffusers saves it has it too.
        return "LTX-Video" if shape("pos_embed.proj.bias") is None else "PixArt"
    return _unet_or_lora(shapes)


def _unet_or_lora(shapes: Mapping[str, Shape]) -> str | None:
    for name, shape in shapes.items():
        is_lora = any(part in name for part in _LORA_PARTS)
        if len(shape) == 2 and any(part in name for part in _UNET_PARTS):
            if ("time_stack" in name or "temporal_transformer" in name) and not is_lora:
                return "Stable Video Diffusion"
            if ("attn2.to_k." in name or "attn2_to_k." in name) and (is_lora or name.endswith("to_k.weight")):
                return _UNETS.get(shape[1])
        elif is_lora and re.search(r"blocks[._]\d+[._]cross_attn[._]k\.", name):
            return "Wan 2.x"
        elif is_lora and re.search(r"transformer_blocks[._]\d+[._](?:img|txt)_mlp[._]", name):
            return "Qwen-Image"
    return None


def _text_encoder(shapes: Mapping[str, Shape]) -> str | None:
    for name, encoder in (("30", "CLIP-G"), ("22", "CLIP-H"), ("0", "CLIP-L")):
        if f"text_model.encoder.layers.{name}.mlp.fc1.weight" in shapes:
            return encoder
    block = "encoder.block.23.layer.1.DenseReluDense.wi"
    if f"{block}.weight" in shapes or shapes.get(f"{block}_1.weight", ())[-1:] == (4096,):
        return "UMT5-XXL" if shapes.get("shared.weight", ())[:1] == (256384,) else "T5-XXL"
    layer = "model.layers.0."
    if f"{layer}post_feedforward_layernorm.weight" in shapes:
        return "Gemma 3" if f"{layer}self_attn.q_norm.weight" in shapes else "Gemma 2"
    if bias := shapes.get(f"{layer}self_attn.k_proj.bias"):
        return _QWENS.get(bias[0])
    if f"{layer}self_attn.q_norm.weight" in shapes:
        return "Qwen3"
    norm = shapes.get(f"{layer}post_attention_layernorm.weight")
    return _LLAMAS.get(norm[0]) if norm else None


def _has(shapes: Mapping[str, Shape], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in shapes)
