"""Small graphs of ComfyUI's editor, and definitions of node classes that are like its own."""

from collections.abc import Iterable
from typing import Any

SAMPLERS = ["euler", "heun"]

DEFINITIONS: dict[str, dict[str, Any]] = {
    "Loader": {
        "input": {"required": {"name": [["a.safetensors", "b.safetensors"], {}]}},
        "output": ["MODEL", "CLIP", "VAE"],
        "display_name": "Load Model",
    },
    "Encode": {
        "input": {
            "required": {"text": ["STRING", {"multiline": True, "dynamicPrompts": True}], "clip": ["CLIP"]},
        },
        "output": ["CONDITIONING"],
        "display_name": "Encode Text",
    },
    "Sampler": {
        "input": {
            "required": {
                "model": ["MODEL"],
                "seed": ["INT", {"default": 0, "min": 0, "max": 2**64 - 1}],
                "steps": ["INT", {"default": 20, "min": 1, "max": 100}],
                "cfg": ["FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1}],
                "sampler": [SAMPLERS],
                "positive": ["CONDITIONING"],
                "latent": ["LATENT"],
            }
        },
        "output": ["LATENT"],
    },
    "Empty": {"input": {"required": {"width": ["INT", {"default": 512, "step": 8}]}}, "output": ["LATENT"]},
    "Blend": {
        "input": {"required": {"a": ["LATENT"], "b": ["LATENT"], "model": ["MODEL"]}},
        "output": ["LATENT", "MODEL"],
    },
    "Save": {"input": {"required": {"latent": ["LATENT"]}}, "output": []},
    "SaveImage": {
        "input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "ComfyUI"}]}},
        "output": [],
    },
    "LoadImage": {
        "input": {"required": {"image": [["x.png"], {"image_upload": True}]}},
        "output": ["IMAGE", "MASK"],
    },
    "Batch": {
        "input": {
            "required": {
                "images": [
                    "COMFY_AUTOGROW_V3",
                    {"template": {"input": {"required": {"image": ["IMAGE", {}]}}, "prefix": "image", "min": 2}},
                ]
            }
        },
        "output": ["IMAGE"],
    },
    "Resize": {
        "input": {
            "required": {
                "image": ["IMAGE"],
                "how": [
                    "COMFY_DYNAMICCOMBO_V3",
                    {
                        "options": [
                            {"key": "by", "inputs": {"required": {"factor": ["FLOAT", {"default": 1.0}]}}},
                            {
                                "key": "to",
                                "inputs": {
                                    "required": {"width": ["INT", {"default": 64}], "height": ["INT", {"default": 64}]}
                                },
                            },
                            {"key": "like", "inputs": {"required": {"other": ["IMAGE"]}}},
                        ]
                    },
                ],
                "method": [["area", "lanczos"]],
            }
        },
        "output": ["IMAGE"],
    },
    "Curve": {"input": {"required": {"points": ["CURVE", {}], "colors": ["COLORS", {}]}}, "output": []},
    "Load3D": {"input": {"required": {"model_file": [["none"]], "image": ["LOAD_3D"]}}, "output": ["IMAGE"]},
}


def node(
    id_: int | str,
    type_: str,
    values: list[Any] | dict[str, Any] | None = None,
    inputs: Iterable[dict[str, Any]] = (),
    outputs: Iterable[dict[str, Any]] = (),
    **more: Any,
) -> dict[str, Any]:
    return {
        "id": id_,
        "type": type_,
        "inputs": list(inputs),
        "outputs": list(outputs),
        "widgets_values": values,
        **more,
    }


def linked(name: str, link: int | None, type_: str = "*", *, widget: bool = False) -> dict[str, Any]:
    return {"name": name, "type": type_, "link": link, **({"widget": {"name": name}} if widget else {})}


def output(type_: str, *links: int) -> dict[str, Any]:
    return {"name": type_, "type": type_, "links": list(links)}


def graph(nodes: list[dict[str, Any]], links: list[list[Any]] | None = None, **more: Any) -> dict[str, Any]:
    return {"version": 0.4, "nodes": nodes, "links": links or [], **more}


def subgraph(
    id_: str,
    nodes: list[dict[str, Any]],
    links: list[tuple[int, int, int, int, int]],
    inputs: list[tuple[str, str, list[int]]] | None = None,
    outputs: list[tuple[str, str, list[int]]] | None = None,
) -> dict[str, Any]:
    """`links`: id, origin, slot, target, slot; `inputs` and `outputs`: name, type, ids of their links."""
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
    ports = [
        [{"name": name, "type": type_, "linkIds": ids} for name, type_, ids in listed or []]
        for listed in (inputs, outputs)
    ]
    return {
        "id": id_,
        "name": id_,
        "nodes": nodes,
        "links": [dict(zip(keys, link, strict=True)) for link in links],
        "inputs": ports[0],
        "outputs": ports[1],
    }
