"""What people draw and old files hold, one oddity each: all of it in nodes that every ComfyUI has."""

import copy
from collections.abc import Callable
from typing import Any

from services.workflows.document import Graph
from tests.conversion.drawing import Drawing, Node, node, primitive, reroute, subgraph

ODD: dict[str, Callable[[], Graph]] = {}
MUTED, BYPASSED = 2, 4
PART, WHOLE = "11111111-1111-4111-8111-111111111100", "22222222-2222-4222-8222-222222222200"


def odd(make: Callable[[], Drawing | Graph]) -> Callable[[], Drawing | Graph]:
    def graph() -> Graph:
        made = make()
        return made.graph() if isinstance(made, Drawing) else made

    ODD[make.__name__.strip("_")] = graph
    return make


def encoder(number: int, text: str = "a cat", **facts: Any) -> Node:
    inputs = (("clip", "CLIP"), ("text", "STRING", True))
    return node(number, "CLIPTextEncode", [text], inputs, ("CONDITIONING",), **facts)


def text_to_image() -> Drawing:
    latents = (
        ("model", "MODEL"),
        ("positive", "CONDITIONING"),
        ("negative", "CONDITIONING"),
        ("latent_image", "LATENT"),
    )
    numbers = (("seed", "INT", True), ("steps", "INT", True), ("cfg", "FLOAT", True), ("sampler_name", "COMBO", True))
    drawing = Drawing(
        node(1, "CheckpointLoaderSimple", ["a.safetensors"], (("ckpt_name", "COMBO", True),), ("MODEL", "CLIP", "VAE")),
        encoder(2, title="Positive"),
        encoder(3, "ugly"),
        node(4, "EmptyLatentImage", [512, 768, 2], (("width", "INT", True), ("height", "INT", True)), ("LATENT",)),
        node(5, "KSampler", [42, "randomize", 20, 8, "euler", "normal", 1], (*latents, *numbers), ("LATENT",)),
        node(6, "VAEDecode", [], (("samples", "LATENT"), ("vae", "VAE")), ("IMAGE",)),
        node(7, "SaveImage", ["out"], (("images", "IMAGE"), ("filename_prefix", "STRING", True))),
    )
    drawing.link(1, 0, 5, "model").link(1, 1, 2, "clip").link(1, 1, 3, "clip").link(2, 0, 5, "positive")
    drawing.link(3, 0, 5, "negative").link(4, 0, 5, "latent_image").link(5, 0, 6, "samples")
    return drawing.link(1, 2, 6, "vae").link(6, 0, 7, "images")


@odd
def _a_muted_sampler() -> Drawing:
    drawing = text_to_image()
    drawing.nodes[5]["mode"] = MUTED
    return drawing


@odd
def _a_bypassed_sampler() -> Drawing:
    drawing = text_to_image()
    drawing.nodes[5]["mode"] = BYPASSED
    return drawing


@odd
def _a_bypassed_node_whose_first_input_is_free() -> Drawing:
    images = (("destination", "IMAGE"), ("source", "IMAGE"), ("mask", "MASK"))
    drawing = text_to_image().add(node(8, "ImageCompositeMasked", [0, 0, False], images, ("IMAGE",), mode=BYPASSED))
    return drawing.link(6, 0, 8, "source").link(8, 0, 7, "images")


@odd
def _two_bypassed_loras_in_a_row() -> Drawing:
    drawing = text_to_image()
    for number in (8, 9):
        both = (("model", "MODEL"), ("clip", "CLIP"))
        drawing.add(node(number, "LoraLoader", ["x", 1, 1], both, ("MODEL", "CLIP"), mode=BYPASSED))
    drawing.link(1, 0, 8, "model").link(1, 1, 8, "clip").link(8, 0, 9, "model").link(8, 1, 9, "clip")
    return drawing.link(9, 1, 2, "clip").link(9, 0, 5, "model")


@odd
def _a_bypassed_node_without_a_match() -> Drawing:
    drawing = text_to_image().add(node(8, "MaskToImage", [], (("mask", "MASK"),), ("IMAGE",), mode=BYPASSED))
    drawing.add(node(9, "LoadImageMask", ["m.png", "alpha", "image"], outputs=("MASK",)))
    return drawing.link(9, 0, 8, "mask").link(8, 0, 7, "images")


@odd
def _reroutes_in_a_row() -> Drawing:
    drawing = text_to_image().add(reroute(8, "MODEL")).add(reroute(9, "MODEL"))
    return drawing.link(1, 0, 8, "").link(8, 0, 9, "").link(9, 0, 5, "model")


@odd
def _a_muted_reroute() -> Drawing:
    drawing = text_to_image().add(reroute(8, "MODEL", mode=MUTED))
    return drawing.link(1, 0, 8, "").link(8, 0, 5, "model")


@odd
def _a_primitive_for_two_widgets() -> Drawing:
    drawing = text_to_image().add(primitive(8, 640, "INT", "width"))
    return drawing.link(8, 0, 4, "width").link(8, 0, 4, "height")


@odd
def _a_primitive_through_a_reroute() -> Drawing:
    drawing = text_to_image().add(primitive(8, 777, "INT", "seed")).add(reroute(9, "INT"))
    return drawing.link(8, 0, 9, "").link(9, 0, 5, "seed")


@odd
def _a_muted_primitive() -> Drawing:
    return text_to_image().add(primitive(8, 777, "INT", "seed", mode=MUTED)).link(8, 0, 5, "seed")


@odd
def _a_muted_source_of_a_widget() -> Drawing:
    drawing = text_to_image().add(node(8, "PrimitiveInt", [99, "fixed"], outputs=("INT",), mode=MUTED))
    return drawing.link(8, 0, 5, "seed")


@odd
def _notes() -> Drawing:
    return text_to_image().add(node(8, "Note", ["hello"])).add(node(9, "MarkdownNote", ["# hello"]))


def _with_values(name: str, values: Any) -> None:
    def make() -> Drawing:
        drawing = text_to_image()
        drawing.nodes[5]["widgets_values"] = values
        return drawing

    make.__name__ = name
    odd(make)


_with_values("too_few_values", [1])
_with_values("too_many_values", [1, "fixed", 2, 3.5, "euler", "normal", 0.5, "more", 9])
_with_values("no_value_for_control_after_generate", [5, 20, 8, "euler", "normal", 1])
_with_values("values_that_are_null", [None] * 7)
_with_values("numbers_as_text", ["12", "randomize", "20", "8", "euler", "normal", "1"])
_with_values("values_of_the_wrong_kind", [True, "randomize", -5, 1e9, "no such sampler", 3, [1, 2]])
_with_values("a_seed_beyond_what_javascript_counts", [2**60 + 1, "fixed", 20, 8, "euler", "normal", 1])


def _with_text(name: str, text: str) -> None:
    def make() -> Drawing:
        drawing = text_to_image()
        drawing.nodes[2]["widgets_values"] = [text]
        return drawing

    make.__name__ = name
    odd(make)


_with_text("a_choice_within_a_choice", "a {big {red|blue}|small} fox")
_with_text("comments", "see https://x.y/z\nand /* not\nthis */ that // nor this\nend")
_with_text("braces_that_are_no_choice", "\\{kept\\} {one} {open|end")


@odd
def _a_file_name_made_of_values() -> Drawing:
    drawing = text_to_image()
    drawing.nodes[7]["widgets_values"] = ["%date:yyyy%/%Positive.text%_%KSampler.seed%_%Nobody.x%_100%"]
    return drawing


@odd
def _a_class_that_comfyui_lacks() -> Drawing:
    drawing = text_to_image().add(node(8, "NoSuchNode", [], (("image", "IMAGE"),), ("IMAGE",)))
    return drawing.link(6, 0, 8, "image").link(8, 0, 7, "images")


@odd
def _inputs_in_another_order() -> Drawing:
    drawing = text_to_image()
    drawing.nodes[5]["inputs"].reverse()
    return drawing


@odd
def _an_input_that_the_class_does_not_have() -> Drawing:
    drawing = text_to_image()
    drawing.nodes[5]["inputs"].append({"name": "gone", "type": "MODEL", "link": None})
    return drawing.link(1, 0, 5, "gone")


@odd
def _a_link_from_a_node_that_is_not_there() -> Drawing:
    drawing = text_to_image()
    drawing.links.append([99, 77, 0, 5, 0, "MODEL"])
    return drawing


@odd
def _links_as_objects() -> Graph:
    graph = text_to_image().graph()
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    graph["links"] = [dict(zip(names, link, strict=True)) for link in graph["links"]]
    state = {"lastGroupid": 0, "lastNodeId": 7, "lastLinkId": 9, "lastRerouteId": 0}
    return graph | {"version": 1, "state": state}


@odd
def _ids_as_text() -> Graph:
    graph = text_to_image().graph()
    for one in graph["nodes"]:
        one["id"] = str(one["id"])
    graph["links"] = [[link[0], str(link[1]), link[2], str(link[3]), *link[4:]] for link in graph["links"]]
    return graph


@odd
def _nodes_in_another_order() -> Graph:
    graph = text_to_image().graph()
    graph["nodes"].reverse()
    return graph


@odd
def _a_group_node() -> Drawing:
    outputs = ("CONDITIONING", "CONDITIONING")
    drawing = text_to_image().add(node(8, "workflow>two texts", ["one", "two"], (("clip", "CLIP"),), outputs))
    inner = [copy.deepcopy(encoder(place)) | {"index": place} for place in (1, 2)]
    start = reroute(0, "*") | {"index": 0}
    for one in (start, *inner):
        del one["id"]
    links = [[0, 0, 1, 0, 1, "CLIP"], [0, 0, 2, 0, 2, "CLIP"]]
    drawing.extra["groupNodes"] = {"two texts": {"nodes": [start, *inner], "links": links, "external": []}}
    return drawing.link(1, 1, 8, "clip").link(8, 0, 5, "positive").link(8, 1, 5, "negative")


def part(**facts: Any) -> Graph:
    """Encodes a text, and gives it a strength."""
    strength = (("conditioning", "CONDITIONING"), ("strength", "FLOAT", True))
    nodes = [
        encoder(1, "the part's own", **facts),
        node(2, "ConditioningSetAreaStrength", [0.7], strength, ("CONDITIONING",)),
    ]
    links = [
        (-10, 0, 1, 0, "CLIP"),
        (-10, 1, 1, 1, "STRING"),
        (1, 0, 2, 0, "CONDITIONING"),
        (2, 0, -20, 0, "CONDITIONING"),
    ]
    return subgraph(PART, nodes, links, inputs=[("clip", "CLIP"), ("text", "STRING")])


def with_part(values: Any = ("the whole's",), *, number: int = 8, **facts: Any) -> Drawing:
    inputs = (("clip", "CLIP"), ("text", "STRING", True))
    host = node(number, PART, list(values), inputs, ("CONDITIONING",)) | {"properties": {}} | facts
    drawing = text_to_image().add(host)
    drawing.subgraphs = [part()]
    return drawing.link(1, 1, number, "clip").link(number, 0, 5, "positive")


@odd
def _a_value_of_a_subgraph_given_from_without() -> Drawing:
    return with_part()


@odd
def _a_value_of_a_subgraph_linked_from_without() -> Drawing:
    drawing = with_part().add(node(9, "PrimitiveString", ["linked"], outputs=("STRING",)))
    return drawing.link(9, 0, 8, "text")


@odd
def _a_bypassed_subgraph() -> Drawing:
    return with_part(mode=BYPASSED)


@odd
def _a_muted_node_in_a_subgraph() -> Drawing:
    drawing = with_part()
    drawing.subgraphs = [part(mode=MUTED)]
    return drawing


@odd
def _a_subgraph_used_twice() -> Drawing:
    drawing = with_part()
    drawing.add(copy.deepcopy(drawing.nodes[8]) | {"id": 9, "widgets_values": ["the second's"]})
    drawing.nodes[9]["inputs"][0]["link"] = None
    drawing.nodes[9]["outputs"][0]["links"] = []
    return drawing.link(1, 1, 9, "clip").link(9, 0, 5, "negative")


@odd
def _widgets_shown_by_the_older_way() -> Drawing:
    widgets = [["2", "strength"], ["1", "$$canvas-image-preview"], ["1", "text"], ["77", "gone"]]
    return with_part([0.25, "x", "the whole's", 5], properties={"proxyWidgets": widgets})


@odd
def _ids_that_a_subgraph_has_too() -> Drawing:
    drawing = with_part(["x", 0.9], properties={"proxyWidgets": [["1", "text"], ["2", "strength"]]})
    return drawing.add(node(10, "Note", ["the part's 1 and 2 are also the whole's"]))


@odd
def _a_subgraph_in_a_subgraph() -> Drawing:
    drawing = with_part(["the outermost's"], type=WHOLE)
    inputs = (("clip", "CLIP"), ("text", "STRING", True))
    inner = node(3, PART, ["the middle's"], inputs, ("CONDITIONING",))
    links = [(-10, 0, 3, 0, "CLIP"), (-10, 1, 3, 1, "STRING"), (3, 0, -20, 0, "CONDITIONING")]
    outer = subgraph(WHOLE, [inner], links, inputs=[("clip", "CLIP"), ("text", "STRING")])
    drawing.subgraphs = [outer, part()]
    return drawing
