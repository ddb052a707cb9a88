"""The least that ComfyUI takes for a custom node pack."""


class Constant:
    RETURN_TYPES = ("INT",)
    FUNCTION = "run"
    CATEGORY = "stand-in"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, object]]:  # noqa: N802
        return {"required": {}}

    def run(self) -> tuple[int]:
        return (1,)


NODE_CLASS_MAPPINGS = {"StandIn_full": Constant}
