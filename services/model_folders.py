"""ComfyUI's model folders: their names, and what in them counts as a model.

The names are ComfyUI's own (`folder_paths.folder_names_and_paths`). A key it does not know is accepted silently and
offered by no loader, so nothing here is guessed: what a newer ComfyUI adds is read from its source.
"""

import ast
import os
from pathlib import Path

MODEL_SUFFIXES = frozenset({".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft", ".gguf"})

KNOWN_FOLDERS = (
    "checkpoints",
    "configs",
    "loras",
    "vae",
    "text_encoders",
    "diffusion_models",
    "clip_vision",
    "style_models",
    "embeddings",
    "diffusers",
    "vae_approx",
    "controlnet",
    "gligen",
    "upscale_models",
    "latent_upscale_models",
    "hypernetworks",
    "photomaker",
    "classifiers",
    "model_patches",
    "audio_encoders",
    "background_removal",
    "frame_interpolation",
    "geometry_estimation",
    "optical_flow",
    "detection",
    # Not ComfyUI's own, but of the custom nodes that read it: they look it up by this name.
    "ipadapter",
)

# folder_paths.map_legacy: the old spelling still stands in many workflows and download lists.
LEGACY_FOLDERS = {"unet": "diffusion_models", "clip": "text_encoders"}

_NOT_MODELS = {"custom_nodes", "datasets"}


def is_model(folder: str, name: str) -> bool:
    """Whether the file `name` in `folder` is one that ComfyUI's loaders offer, by its suffix."""
    # Not by a Path: a library of ten thousand files is asked for each.
    suffix = os.path.splitext(name)[1].lower()
    return suffix in MODEL_SUFFIXES or (folder == "configs" and suffix == ".yaml")


def model_folders(comfyui_dir: Path) -> tuple[str, ...]:
    """The folders to have for this ComfyUI: the known ones, then those its `folder_paths.py` adds."""
    return tuple(dict.fromkeys([*KNOWN_FOLDERS, *folders_of(comfyui_dir)]))


def folders_of(comfyui_dir: Path) -> tuple[str, ...]:
    """The folders this ComfyUI itself looks into, by its `folder_paths.py`; none when that cannot be read."""
    try:
        tree = ast.parse((comfyui_dir / "folder_paths.py").read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return ()
    found = [
        target.slice.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Subscript)
        and isinstance(target.value, ast.Name)
        and target.value.id == "folder_names_and_paths"
        and isinstance(target.slice, ast.Constant)
        and isinstance(target.slice.value, str)
    ]
    return tuple(dict.fromkeys(name for name in found if name not in _NOT_MODELS))


# The node, and the input of it, that offers the files of a folder. What a workflow misses is told by this, and a test
# holds the model paths the suite writes against it in a running ComfyUI.
LOADERS: dict[str, tuple[tuple[str, str], ...]] = {
    "checkpoints": (
        ("CheckpointLoaderSimple", "ckpt_name"),
        ("CheckpointLoader", "ckpt_name"),
        ("unCLIPCheckpointLoader", "ckpt_name"),
        ("ImageOnlyCheckpointLoader", "ckpt_name"),
    ),
    "configs": (("CheckpointLoader", "config_name"),),
    "loras": (("LoraLoader", "lora_name"), ("LoraLoaderModelOnly", "lora_name")),
    "vae": (("VAELoader", "vae_name"),),
    "text_encoders": (
        ("CLIPLoader", "clip_name"),
        ("DualCLIPLoader", "clip_name1"),
        ("DualCLIPLoader", "clip_name2"),
        ("TripleCLIPLoader", "clip_name1"),
        ("TripleCLIPLoader", "clip_name2"),
        ("TripleCLIPLoader", "clip_name3"),
        ("QuadrupleCLIPLoader", "clip_name1"),
        ("QuadrupleCLIPLoader", "clip_name2"),
        ("QuadrupleCLIPLoader", "clip_name3"),
        ("QuadrupleCLIPLoader", "clip_name4"),
    ),
    "diffusion_models": (("UNETLoader", "unet_name"),),
    "clip_vision": (("CLIPVisionLoader", "clip_name"),),
    "style_models": (("StyleModelLoader", "style_model_name"),),
    "diffusers": (("DiffusersLoader", "model_path"),),
    "controlnet": (("ControlNetLoader", "control_net_name"), ("DiffControlNetLoader", "control_net_name")),
    "gligen": (("GLIGENLoader", "gligen_name"),),
    "upscale_models": (("UpscaleModelLoader", "model_name"),),
    "latent_upscale_models": (("LatentUpscaleModelLoader", "model_name"),),
    "hypernetworks": (("HypernetworkLoader", "hypernetwork_name"),),
    "photomaker": (("PhotoMakerLoader", "photomaker_model_name"),),
    "model_patches": (("ModelPatchLoader", "name"),),
    "audio_encoders": (("AudioEncoderLoader", "audio_encoder_name"),),
    "background_removal": (("LoadBackgroundRemovalModel", "bg_removal_name"),),
    "frame_interpolation": (("FrameInterpolationModelLoader", "model_name"),),
    "geometry_estimation": (("LoadMoGeModel", "model_name"), ("LoadDA3Model", "model_name")),
    "optical_flow": (("OpticalFlowLoader", "model_name"),),
    "detection": (("LoadMediaPipeFaceLandmarker", "model_name"),),
}

_FOLDER_OF_INPUT = {loader: folder for folder, loaders in LOADERS.items() for loader in loaders}


def folder_of_input(class_type: str, input_name: str) -> str | None:
    """The folder whose files the input offers; None for nodes that are not known here."""
    return _FOLDER_OF_INPUT.get((class_type, input_name))
