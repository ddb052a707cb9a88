"""What a 3D view of the editor sends: where its camera stands. No server needs the pictures that go with it."""

from typing import Any

from services.workflows.conversion.graph import Node

# Where the editor's camera stands before anyone moves it.
_CAMERA = {
    "position": {"x": 10, "y": 10, "z": 10.000000000000002},
    "target": {"x": 0, "y": 0, "z": 0},
    "zoom": 1,
    "cameraType": "perspective",
    "quaternion": {
        "x": -0.2798481423331213,
        "y": 0.3647051996310008,
        "z": 0.11591689595929511,
        "w": 0.8804762392171493,
    },
    "fov": 35,
    "aspect": 1,
    "near": 0.01,
    "far": 10000,
    "frustum": {"left": -5, "right": 5, "top": 5, "bottom": -5},
}


def viewport(node: Node) -> dict[str, Any]:
    """The camera as it was saved with the node, else as it is at first."""
    config = node.properties.get("Camera Config")
    saved = config.get("state") if isinstance(config, dict) else None
    camera = saved if isinstance(saved, dict) else _CAMERA
    if node.type == "Load3DAdvanced":
        return {"camera_info": camera, "model_3d_info": []}
    pictures = {"image": "", "mask": "", "normal": ""}
    return {**pictures, "camera_info": camera, "recording": "", "model_3d_info": []}
