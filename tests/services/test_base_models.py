from collections.abc import Mapping

import pytest

from services.base_models import BaseModel, base_model
from services.model_headers import Header, Shape

UNET = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
IN_CHECKPOINT = "model.diffusion_model."


def guess(
    *,
    shapes: Mapping[str, Shape] | None = None,
    metadata: Mapping[str, str] | None = None,
    folder: str = "diffusion_models",
    name: str = "model.safetensors",
) -> BaseModel | None:
    return base_model(folder, name, Header("safetensors", metadata=metadata or {}, shapes=shapes or {}))


@pytest.mark.parametrize(
    ("key", "said", "name"),
    [
        ("modelspec.architecture", "stable-diffusion-v1", "SD 1.x"),
        ("modelspec.architecture", "stable-diffusion-v2-768-v", "SD 2.x"),
        ("modelspec.architecture", "stable-diffusion-xl-v1-base/lora", "SDXL"),
        ("modelspec.architecture", "stable-diffusion-3", "SD 3.x"),
        ("modelspec.architecture", "Flux.1-dev", "FLUX.1"),
        ("modelspec.architecture", "lumina-2", "Lumina 2"),
        ("ss_base_model_version", "sdxl_base_v1-0", "SDXL"),
        ("ss_base_model_version", "sd_v1", "SD 1.x"),
        ("ss_base_model_version", "flux1", "FLUX.1"),
        ("ss_base_model_version", "hunyuan_video", "Hunyuan Video"),
        ("general.architecture", "flux", "FLUX.1"),
        ("general.architecture", "qwen_image", "Qwen-Image"),
        ("general.architecture", "hyvid", "Hunyuan Video"),
    ],
)
def test_metadata_says_it(key: str, said: str, name: str) -> None:
    assert guess(metadata={key: said}) == BaseModel(name, "metadata")


@pytest.mark.parametrize(
    ("shapes", "name"),
    [
        ({UNET: (320, 768)}, "SD 1.x"),
        ({UNET: (320, 1024)}, "SD 2.x"),
        ({UNET: (640, 2048)}, "SDXL"),
        ({UNET: (640, 1280)}, "SDXL Refiner"),
        ({"down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight": (640, 2048)}, "SDXL"),
        ({IN_CHECKPOINT + "joint_blocks.0.context_block.attn.qkv.weight": (4608, 1536)}, "SD 3.x"),
        ({"double_blocks.0.img_attn.norm.key_norm.scale": (128,), "img_in.weight": (3072, 64)}, "FLUX.1"),
        (
            {
                IN_CHECKPOINT + "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
                IN_CHECKPOINT + "img_in.weight": (6144, 128),
                IN_CHECKPOINT + "double_stream_modulation_img.lin.weight": (36864, 6144),
            },
            "FLUX.2",
        ),
        ({"distilled_guidance_layer.norms.0.scale": (5120,)}, "Chroma"),
        ({"head.modulation": (1, 2, 5120), "head.head.weight": (64, 5120)}, "Wan 2.x"),
        ({"head.modulation": (1, 2, 3072), "head.head.weight": (192, 3072)}, "Wan 2.2"),
        (
            {
                "txt_in.individual_token_refiner.blocks.0.norm1.weight": (3072,),
                "img_in.proj.weight": (3072, 16, 1, 2, 2),
            },
            "Hunyuan Video",
        ),
        (
            {"txt_in.individual_token_refiner.blocks.0.norm1.weight": (3584,), "img_in.proj.weight": (3584, 64, 1, 1)},
            "Hunyuan Image",
        ),
        ({"adaln_single.emb.timestep_embedder.linear_1.bias": (2048,)}, "LTX-Video"),
        ({"cap_embedder.1.weight": (2304, 2304)}, "Lumina 2"),
        ({"cap_embedder.1.weight": (3840, 2560)}, "Z-Image"),
        ({"txt_norm.weight": (3584,)}, "Qwen-Image"),
        ({"caption_projection.0.linear.weight": (2560, 4096)}, "HiDream"),
    ],
)
def test_tensors_tell_it(shapes: dict[str, Shape], name: str) -> None:
    assert guess(shapes=shapes) == BaseModel(name, "tensors")


@pytest.mark.parametrize(
    ("tensor", "shape", "name"),
    [
        ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight", (16, 2048), "SDXL"),
        ("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight", (8, 768), "SD 1.x"),
        ("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight", (8, 2048), "SDXL"),
        ("diffusion_model.blocks.0.cross_attn.k.lora_A.weight", (32, 5120), "Wan 2.x"),
        ("transformer_blocks.0.img_mlp.net.0.proj.lora_A.weight", (32, 3072), "Qwen-Image"),
    ],
)
def test_what_a_lora_is_for_is_told_by_what_it_changes(tensor: str, shape: Shape, name: str) -> None:
    assert guess(shapes={tensor: shape}, folder="loras") == BaseModel(name, "tensors")


@pytest.mark.parametrize(
    ("shapes", "name"),
    [
        ({"text_model.encoder.layers.0.mlp.fc1.weight": (3072, 768)}, "CLIP-L"),
        (
            {f"text_model.encoder.layers.{n}.mlp.fc1.weight": (5120, 1280) for n in (0, 22, 30)},
            "CLIP-G",
        ),
        ({"encoder.block.23.layer.1.DenseReluDense.wi_1.weight": (10240, 4096)}, "T5-XXL"),
        (
            {"encoder.block.23.layer.1.DenseReluDense.wi_1.weight": (10240, 4096), "shared.weight": (256384, 4096)},
            "UMT5-XXL",
        ),
        ({"model.layers.0.self_attn.k_proj.bias": (512,)}, "Qwen2.5 7B"),
        ({"model.layers.0.post_attention_layernorm.weight": (4096,)}, "Llama 3"),
    ],
)
def test_text_encoders_are_told_apart(shapes: dict[str, Shape], name: str) -> None:
    assert guess(shapes=shapes, folder="text_encoders") == BaseModel(name, "tensors")


def test_only_the_beginning_of_metadata_is_read() -> None:
    assert guess(metadata={"modelspec.architecture": "x" * 2000 + " flux-1"}) is None


def test_metadata_goes_before_tensors_and_these_before_the_name() -> None:
    shapes, name = {UNET: (640, 2048)}, "my_sd15_style.safetensors"
    assert guess(shapes=shapes, metadata={"ss_base_model_version": "sd_v1"}, name=name) == BaseModel(
        "SD 1.x", "metadata"
    )
    assert guess(shapes=shapes, name=name) == BaseModel("SDXL", "tensors")
    assert guess(name=name) == BaseModel("SD 1.x", "name")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("sd_xl_base_1.0.safetensors", "SDXL"),
        ("v1-5-pruned-emaonly.safetensors", "SD 1.x"),
        ("sd3.5_large_fp8_scaled.safetensors", "SD 3.x"),
        ("flux1-dev-fp8.safetensors", "FLUX.1"),
        ("flux2_dev_fp8mixed.safetensors", "FLUX.2"),
        ("wan2.2_ti2v_5B_fp16.safetensors", "Wan 2.2"),
        ("sub/wan_2.1_vae.safetensors", "Wan 2.1"),
        ("hunyuan_video_vae_bf16.safetensors", "Hunyuan Video"),
        ("ltx-video-2b-v0.9.5.safetensors", "LTX-Video"),
        ("qwen_image_vae.safetensors", "Qwen-Image"),
        ("z_image_turbo_bf16.safetensors", "Z-Image"),
        ("umt5_xxl_fp8_e4m3fn_scaled.safetensors", "UMT5-XXL"),
        ("t5xxl_fp16.safetensors", "T5-XXL"),
    ],
)
def test_a_name_is_the_last_resort(file: str, name: str) -> None:
    assert guess(name=file) == BaseModel(name, "name")


@pytest.mark.parametrize(
    "file", ["model.safetensors", "swan21.safetensors", "fluxury.safetensors", "cosmos.safetensors"]
)
def test_nothing_is_invented(file: str) -> None:
    assert guess(name=file, shapes={"weight": (3, 3)}) is None
