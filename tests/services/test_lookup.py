import hashlib
import http.client
from dataclasses import replace
from typing import Any

import pytest

from services.errors import DownloadFailed
from services.http_stream import Client
from services.lookup import Described, look_up
from services.proxies import DIRECT
from services.settings import Secret
from services.sources import Sources, Trouble
from tests.fakes.internet import Internet
from tests.fakes.model_host import ModelHost

ANYONE = Sources(Secret(""), Secret(""), "", private_hosts=True)
DATA = bytes(range(256)) * 40 + b"odd"
SHA256 = hashlib.sha256(DATA).hexdigest()


def look(url: str, internet: Internet | None = None, sources: Sources = ANYONE) -> Described:
    with Client(sources, internet.proxies if internet else DIRECT) as client:
        return look_up(client, sources, url)


def trouble(url: str, internet: Internet | None = None, sources: Sources = ANYONE) -> Trouble:
    with pytest.raises(DownloadFailed) as caught:
        look(url, internet, sources)
    return Trouble.of(caught.value)


def test_hugging_face_says_all_of_a_file(internet: Internet) -> None:
    url = internet.hugging_face.add("o/r", "split_files/vae/ae.safetensors", DATA)
    assert look(url, internet) == Described(
        url, "ae.safetensors", "vae", len(DATA), SHA256, internet.hugging_face.commit("o/r"), None
    )


@pytest.mark.parametrize("page", ["blob", "raw"])
def test_the_page_of_a_file_is_as_good_as_its_link(page: str, internet: Internet) -> None:
    url = internet.hugging_face.add("o/r", "a.safetensors", DATA)
    found = look(url.replace("/resolve/", f"/{page}/"), internet)
    assert (found.url, found.sha256) == (url, SHA256)


def test_a_small_file_has_a_length_and_a_commit(internet: Internet) -> None:
    url = internet.hugging_face.add("o/r", "configs/a.yaml", b"content", small=True)
    found = look(url, internet)
    assert (found.size_bytes, found.sha256, found.folder) == (7, None, "configs")
    assert found.commit == internet.hugging_face.commit("o/r")


@pytest.mark.parametrize(("token", "kind", "asks"), [("", "gated", "HF_TOKEN"), ("lacks", "gated", None)])
def test_a_gated_file_is_told_from_a_missing_one(token: str, kind: str, asks: str | None, internet: Internet) -> None:
    url = internet.hugging_face.add("gated/model", "a.safetensors", DATA, gated=True)
    found = trouble(url, internet, replace(ANYONE, hf_token=Secret(token)))
    assert (found.kind, found.page, found.token) == (kind, "https://huggingface.co/gated/model", asks)


def test_whoever_was_granted_a_gated_file_is_told_of_it(internet: Internet) -> None:
    url = internet.hugging_face.add("gated/model", "a.safetensors", DATA, gated=True)
    assert look(url, internet, replace(ANYONE, hf_token=Secret("knows"))).sha256 == SHA256


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("no/repository/resolve/main/a.safetensors", "no/repository does not exist"),
        ("o/r/resolve/main/b.safetensors", "o/r has no file 'b.safetensors'"),
        ("o/r/resolve/v9/a.safetensors", "o/r has no revision 'v9'"),
    ],
)
def test_what_is_missing_is_named(path: str, words: str, internet: Internet) -> None:
    internet.hugging_face.add("o/r", "a.safetensors", DATA)
    found = trouble(f"https://huggingface.co/{path}", internet)
    assert found.kind == "missing"
    assert words in found.message


def test_the_page_of_a_repository_is_no_file(internet: Internet) -> None:
    internet.hub.add("/o/r", b"", page=True)
    found = trouble("https://huggingface.co/o/r", internet)
    assert found.kind == "not_a_file"
    assert "/resolve/" in found.message


def test_civitai_says_all_of_a_file_without_its_store(internet: Internet) -> None:
    url = internet.civitai.add(7, DATA, model_type="LORA", about={"name": "style.safetensors"})
    assert look(url, internet) == Described(url, "style.safetensors", "loras", len(DATA), SHA256)
    assert internet.asked() == ["/api/v1/model-versions/7"]


@pytest.mark.parametrize(
    "page",
    [
        "https://civitai.com/models/3/some-name?modelVersionId=7",
        "https://civitai.com/model-versions/7",
        "https://civitai.red/models/3?modelVersionId=7",
    ],
)
def test_the_page_of_a_version_is_as_good_as_its_link(page: str, internet: Internet) -> None:
    url = internet.civitai.add(7, DATA)
    found = look(page, internet)
    assert (found.url, found.sha256) == (url, SHA256)


@pytest.mark.parametrize(
    ("type_", "folder"),
    [
        ("Checkpoint", "checkpoints"),
        ("LORA", "loras"),
        ("LoCon", "loras"),
        ("DoRA", "loras"),
        ("TextualInversion", "embeddings"),
        ("VAE", "vae"),
        ("Controlnet", "controlnet"),
        ("Upscaler", "upscale_models"),
        ("Hypernetwork", "hypernetworks"),
        ("Wildcards", None),
    ],
)
def test_a_type_of_civitai_has_its_folder(type_: str, folder: str | None, internet: Internet) -> None:
    assert look(internet.civitai.add(7, DATA, model_type=type_), internet).folder == folder


@pytest.mark.parametrize("size_kb", [round(len(DATA) / 1024), len(DATA) / 1024 + 0.0001, None, 0, -1.5])
def test_a_size_that_was_rounded_is_measured(size_kb: float | None, internet: Internet) -> None:
    url = internet.civitai.add(7, DATA, about={"sizeKB": size_kb})
    found = look(url, internet)
    assert (found.size_bytes, found.sha256) == (len(DATA), SHA256)
    (request,) = internet.store.requests
    assert (request.method, request.range, request.bytes_sent) == ("GET", "bytes=0-0", 1)


def several(internet: Internet) -> str:
    url = internet.civitai.add(7, DATA, about={"name": "full.safetensors", "metadata": {"format": "SafeTensor"}})
    pruned = {"format": "SafeTensor", "size": "pruned", "fp": "fp16"}
    internet.civitai.add_file(7, b"pruned" * 11, about={"name": "pruned.safetensors", "metadata": pruned})
    vae = {"name": "vae.pt", "type": "VAE", "metadata": {"format": "PickleTensor"}}
    internet.civitai.add_file(7, b"vae" * 11, about=vae)
    return url


@pytest.mark.parametrize(
    ("query", "name", "folder"),
    [
        ("", "full.safetensors", "checkpoints"),
        ("?type=Model&format=SafeTensor", "full.safetensors", "checkpoints"),
        ("?type=Model&format=SafeTensor&size=pruned&fp=fp16", "pruned.safetensors", "checkpoints"),
        ("?type=VAE", "vae.pt", "vae"),
        ("?type=vae&format=pickletensor", "vae.pt", "vae"),
    ],
)
def test_of_several_files_the_link_means_one(query: str, name: str, folder: str, internet: Internet) -> None:
    found = look(several(internet) + query, internet)
    assert (found.name, found.folder) == (name, folder)


def test_a_link_that_means_none_of_several_files_is_measured(internet: Internet) -> None:
    found = look(several(internet) + "?type=Config", internet)
    assert (found.size_bytes, found.sha256) == (len(DATA), None)


def test_early_access_is_told(internet: Internet) -> None:
    found = trouble(internet.civitai.add(7, DATA, early_access=True), internet)
    assert (found.kind, found.page) == ("early_access", "https://civitai.com/model-versions/7")


@pytest.mark.parametrize("locked", ["refused", "login"])
def test_what_needs_a_login_asks_for_the_token(locked: Any, internet: Internet) -> None:
    url = internet.civitai.add(7, DATA, locked=locked, about={"sizeKB": None})
    assert trouble(url, internet).token == "CIVITAI_TOKEN"
    assert look(url, internet, replace(ANYONE, civitai_token=Secret("knows"))).size_bytes == len(DATA)


def test_a_version_that_is_gone_is_missing(internet: Internet) -> None:
    found = trouble("https://civitai.com/api/download/models/8", internet)
    assert (found.kind, found.page) == ("missing", "https://civitai.com/model-versions/8")


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"files": 5}', b"\xff", b"[" * 100_000])
def test_what_the_api_says_in_another_way_is_done_without(body: bytes, internet: Internet) -> None:
    url = internet.civitai.add(7, DATA)
    internet.hub.behave("/api/v1/model-versions/7", status=200, body=body)
    found = look(url, internet)
    assert (found.size_bytes, found.sha256, found.name) == (len(DATA), None, "7")


def test_what_the_api_breaks_off_is_no_answer(internet: Internet) -> None:
    url = internet.civitai.add(7, DATA)
    internet.hub.add("/api/v1/model-versions/7", b"{" + b" " * 100_000, break_after=70_000, redirect=None)
    internet.hub.sites.remove(internet.civitai)
    with pytest.raises((OSError, http.client.HTTPException)):
        look(url, internet)


def test_another_host_says_the_length(model_host: ModelHost) -> None:
    url = model_host.add("/models/loras/a b.safetensors", DATA)
    found = look(url)
    assert (found.name, found.folder, found.size_bytes) == ("a b.safetensors", "loras", len(DATA))
    assert found.etag == model_host.files["/models/loras/a b.safetensors"].etag
    assert [request.method for request in model_host.requests] == ["HEAD"]


@pytest.mark.parametrize("status", [403, 405, 501])
def test_a_host_that_does_not_know_head_is_asked_for_one_byte(status: int, model_host: ModelHost) -> None:
    found = look(model_host.add("/a.safetensors", DATA, head_status=status))
    assert found.size_bytes == len(DATA)
    assert [(request.method, request.range) for request in model_host.requests] == [("HEAD", ""), ("GET", "bytes=0-0")]


def test_of_a_host_without_ranges_no_more_than_the_head_is_taken(model_host: ModelHost) -> None:
    large = bytes(50_000_000)
    found = look(model_host.add("/a.safetensors", large, head_status=405, ranges=False))
    assert found.size_bytes == len(large)
    assert model_host.bytes_sent("/a.safetensors") < len(large)


@pytest.mark.parametrize("behaviour", [{"length": False}, {"chunked": True}, {"gzip": True}])
def test_a_host_that_does_not_say_the_length_leaves_it_open(behaviour: dict[str, bool], model_host: ModelHost) -> None:
    assert look(model_host.add("/a.safetensors", DATA, **behaviour)).size_bytes is None


@pytest.mark.parametrize("length", ["-5", "1e9", "", "9" * 30, str(2**53 + 1)])
def test_a_length_that_no_file_has_is_not_believed(length: str, model_host: ModelHost) -> None:
    url = model_host.add("/a.safetensors", DATA, length=False, headers={"Content-Length": length})
    assert look(url).size_bytes is None


def test_a_page_in_place_of_a_file_is_told(model_host: ModelHost) -> None:
    assert trouble(model_host.add("/a.safetensors", b"", page=True)).kind == "not_a_file"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, "unauthorized"), (403, "forbidden"), (404, "missing"), (410, "missing"), (503, "unreachable")],
)
def test_a_refusal_of_another_host_is_told(status: int, kind: str, model_host: ModelHost) -> None:
    assert trouble(model_host.add("/a.safetensors", DATA, status=status)).kind == kind


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="told.safetensors"', "told.safetensors"),
        ("attachment; filename*=UTF-8''t%20old.safetensors", "t old.safetensors"),
        ('attachment; filename="../../told.safetensors"', "a.safetensors"),
        ('attachment; filename=".hidden"', "a.safetensors"),
        ("attachment", "a.safetensors"),
        ('"";=;filename=;', "a.safetensors"),
        ("attachment; filename*=idna''%ff.safetensors", "a.safetensors"),
        ("attachment; filename*=punycode''%ff.safetensors", "a.safetensors"),
        (f'attachment; filename="told.safetensors"; x="{";" * 60_000}', "a.safetensors"),
    ],
)
def test_a_host_may_say_what_the_file_is_called(header: str, name: str, model_host: ModelHost) -> None:
    url = model_host.add("/a.safetensors", DATA, headers={"Content-Disposition": header})
    assert look(url).name == name


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("/split_files/text_encoders/a.safetensors", "text_encoders"),
        ("/clip/a.safetensors", "text_encoders"),
        ("/unet/a.safetensors", "diffusion_models"),
        ("/vae/loras/a.safetensors", "loras"),
        ("/a.safetensors", None),
        ("/other/vae", None),
    ],
)
def test_an_address_may_name_the_folder(path: str, folder: str | None, model_host: ModelHost) -> None:
    assert look(model_host.add(path, DATA)).folder == folder


@pytest.mark.parametrize("url", ["x", "file:///etc/passwd", "https://", "http://[half"])
def test_what_is_no_address_is_no_file(url: str) -> None:
    found = trouble(url)
    assert found.kind == "not_a_file"
    assert "begins with https://" in found.message
