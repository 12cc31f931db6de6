"""The web page over HTTP: fuses as `Fuser`, answers every bad upload with a sentence, and keeps visitors apart."""

import contextlib
import html
import io
import os
import re
import resource
import socket
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

pytest.importorskip("gradio", reason="the web page needs Gradio (166 MB): pip install 'defusionpp[app]'")

from app.web.serve import listen, main, parser
from app.web.store import Store
from models.fuser import Fuser
from tests.app.page_server import MEGABYTES, Served
from tests.app.visitor import Visitor
from tests.rig import rig_pair
from utils.errors import UserError
from utils.pictures.picture import Picture
from utils.pictures.reading import read_picture


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels[..., ::-1] if pixels.ndim == 3 else pixels)[1].tobytes()


def noise(*shape: int, seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype)


def empty_png(side: int) -> bytes:
    """A black PNG of one bit a pixel: the deflated rows are one block, repeated."""
    rows, packer = 1000, zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(rows * (side // 8 + 1))) + packer.flush(zlib.Z_FULL_FLUSH)
    length = side * (side // 8 + 1)
    data = b"\x78\xda" + block * (side // rows) + b"\x03\x00" + struct.pack(">I", length % 65521 << 16 | 1)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(content)) + kind + content +
                                           struct.pack(">I", zlib.crc32(kind + content)) for kind, content in chunks)


def said(answer: dict) -> str:
    return html.unescape(re.sub("<[^>]*>", "", answer["status"]))


GOOD = png(noise(48, 64, 3))
BAD = {
    "text": (b"hello, I am no picture", r"bad\.png: not a picture \(its content is not PNG, JPEG"),
    "empty": (b"", r"bad\.png is empty \(0 bytes\); replace or remove it\."),
    "another size": (png(noise(40, 64, 3)), r'good\.png is 64 x 48 pixels and bad\.png is 64 x 40; tick "Align"'),
    "1 x 1": (png(noise(1, 1, 3)), r"bad\.png is 1 x 1 pixels; pictures need 16 x 16 or more\."),
    "100 megapixels": (empty_png(10_000), r"bad\.png: 10000 x 10000 pixels are more than max_megapixels allows \(50\)"),
    "truncated": (png(noise(48, 64, 3))[:2000], r"bad\.png: truncated \(a PNG of 2000 bytes without its end part\)"),
    "damaged": (png(noise(48, 64, 3))[:900] + b"?" + png(noise(48, 64, 3))[901:], r"bad\.png: damaged"),
    "bomb": (empty_png(64_000), r"bad\.png: 64000 x 64000 pixels are more than max_megapixels allows \(50\)"),
}


@pytest.fixture
def visitor(page: Served) -> Visitor:
    return Visitor(page.url)


def test_the_result_is_the_fusers_in_its_depth_with_its_metadata(visitor: Visitor) -> None:
    """16 bits, profile and EXIF record of the visible picture; the infrared one is found whatever the order."""
    infrared, visible = noise(48, 64, dtype=np.uint16), noise(48, 64, 3, seed=1)
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x010F], exif[0x0112] = "a camera", 1
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(visible).save(file, "png", icc_profile=profile, exif=exif)
    answer = visitor.fuse(visitor.upload(vi__png=file.getvalue(), ir__png=png(infrared)), model="defusionpp_hr")
    assert "as infrared + visible (ir.png is grey, vi.png is in colour): 64 x 48 pixels, 16 bit" in said(answer)
    assert [name for name, _ in answer["choice"]["choices"]] == ["ir.png", "vi.png"]
    assert [part["caption"] for part in answer["parts"]] == [
        "weight of ir.png", "weight of vi.png", "common to both", "only in ir.png", "only in vi.png"]
    content = visitor.download(answer)
    fused = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]
    expected = Fuser.from_pretrained("defusionpp_hr", device="cpu")(
        Picture.of(infrared), Picture.of(visible), task="IVF").fused
    assert fused.dtype == np.uint16 and np.abs(fused.astype(int) - expected).max() <= 1
    with Image.open(io.BytesIO(content)) as stored:
        assert stored.info["icc_profile"] == profile and stored.getexif()[0x010F] == "a camera"


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_upload_is_answered_with_a_sentence(visitor: Visitor, kind: str) -> None:
    """On looking and on fusing; names the file as the visitor knows it; takes no memory."""
    content, sentence = BAD[kind]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    paths = visitor.upload(good__png=GOOD, bad__png=content)
    answer = visitor.fuse(paths)
    assert re.match(sentence, said(answer)), said(answer)
    assert 'class="amiss"' in answer["status"] and "/" not in said(answer).replace("and/or", "")
    files = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]
    seen = {"status": visitor.call("look", files)[2]}
    assert said(seen) == said(answer) or kind == "another size"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KB


@pytest.mark.parametrize(("count", "task", "sentence"), [
    (0, "find", "0 pictures; give two or more"), (1, "find", "1 picture; give two or more pictures of one scene"),
    (33, "find", "33 pictures; this page fuses up to 32"), (3, "IVF", "3 pictures; infrared and visible are fused")])
def test_a_wrong_number_of_pictures_is_answered_with_a_sentence(
        visitor: Visitor, count: int, task: str, sentence: str) -> None:
    paths = visitor.upload(**{f"p{place}__png": GOOD for place in range(count)}) if count else []
    assert re.match(sentence, said(visitor.fuse(paths, task=task)))


def test_pictures_that_are_large_together_are_refused(visitor: Visitor) -> None:
    paths = visitor.upload(**{f"p{place}__png": empty_png(7000) for place in range(3)})
    assert said(visitor.fuse(paths)).startswith("these pictures have more than 100 megapixels together; shrink them")


def test_unregistered_pictures_are_aligned_when_asked(visitor: Visitor) -> None:
    infrared, visible = rig_pair(12)
    paths = visitor.upload(ir__png=png(infrared), vi__png=png(visible))
    answer = visitor.fuse(paths, align=True)
    assert re.search(r"ir\.png moved by \+1[12]\.\d, [+-]0\.\d pixels\.", said(answer)), said(answer)
    assert read_picture(answer["download"]["value"]["path"]).size[0] < visible.shape[1]
    assert read_picture(visitor.fuse(paths)["download"]["value"]["path"]).size[0] == visible.shape[1]


def test_what_is_painted_comes_from_that_picture(visitor: Visitor) -> None:
    """The order of the upload counts, also where the task orders the pictures otherwise."""
    dark, bright = noise(64, 96, 3) // 3, noise(64, 96, 3, seed=1) // 2 + 127
    paths = visitor.upload(dark__png=png(dark), bright__png=png(bright))
    stroke = '[{"picture": %d, "radius": 0.1, "points": [[0.25, 0.5]]}]'
    for place, source in enumerate((dark, bright)):
        answer = visitor.fuse(paths, task="MEF", strokes=stroke % place)
        fused = read_picture(answer["download"]["value"]["path"]).pixels
        assert np.array_equal(fused[28:36, 20:28], source[28:36, 20:28])
        assert np.abs(fused[:, 50:] - (dark[:, 50:] / 2 + bright[:, 50:] / 2)).max() <= 1
    assert "the painted mask cannot be read" in said(visitor.fuse(paths, strokes='[{"picture": 300}]'))


def test_twenty_at_once_are_all_answered_each_with_its_own(page: Served) -> None:
    def ask(number: int) -> tuple[int, bytes]:
        visitor = Visitor(page.url)
        first, second = (np.full((32, 32), value, np.uint8) for value in (number, number + 100))
        for grey in (first, second):
            grey[0, 0] = 0  # not constant
        return number, visitor.download(visitor.fuse(visitor.upload(a__png=png(first), b__png=png(second)), "MFF"))

    start = time.perf_counter()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(20)))
    for number, content in answers:
        assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)[5, 5] == number + 50
    print(f"20 requests in {time.perf_counter() - start:.1f} s")


def test_nobody_else_gets_an_upload_or_a_result(page: Served, visitor: Visitor) -> None:
    paths = visitor.upload(a__png=png(noise(32, 32)), b__png=png(noise(32, 32, seed=1)))
    result = visitor.fuse(paths)["download"]["value"]["path"]
    other = Visitor(page.url)
    for path in (*paths, result):
        assert visitor.get(path).status_code == 200
        assert other.get(path).status_code == 403 and other.client.get(f"/gradio_api/file/{path}").status_code == 403
    assert "not yours" in said(other.fuse(paths))
    shared = other.upload(a__png=png(noise(32, 32)))  # the same content: the same file, now of both
    assert shared == paths[:1] and other.get(paths[0]).status_code == 200
    visitor.call("forget")
    assert visitor.get(paths[1]).status_code == 403 and not Path(paths[1]).exists() and not Path(result).exists()
    assert other.get(paths[0]).status_code == 200


@pytest.mark.parametrize("path", ["/etc/hostname", "{files}/../../x", "{files}", "http://127.0.0.1:9/x"])
def test_no_other_file_is_served_or_fused(page: Served, visitor: Visitor, path: str) -> None:
    path = path.format(files=page.store.root)
    assert visitor.get(path).status_code == 403
    before = set(page.store.root.rglob("*.*"))
    with contextlib.suppress(RuntimeError):  # by Gradio
        assert "not yours" in said(visitor.fuse([path, path]))
    assert set(page.store.root.rglob("*.*")) == before  # nor copied


def test_examples_are_for_everybody(page: Served, visitor: Visitor) -> None:
    for example, task in zip(page.examples, ("infrared", "infrared", "exposures", "exposures", "focus", "focus")):
        answer = visitor.fuse([str(path) for path in example.files])
        assert f"as {task}" in said(answer), said(answer)
        assert visitor.get(example.thumbnail).status_code == 200


def test_an_upload_is_limited(visitor: Visitor) -> None:
    answer = visitor.client.post("/gradio_api/upload", files={"files": ("a.png", bytes(int(MEGABYTES * 1e6)))})
    assert (answer.status_code, answer.text) == (413, "These are more than 4 MB; send fewer or smaller pictures.")
    endless = visitor.client.post("/gradio_api/upload", content=iter([b"x"]))
    assert endless.status_code == 411


def test_who_refuses_the_cookie_cannot_upload(page: Served, visitor: Visitor) -> None:
    visitor.client.cookies.clear()
    answer = visitor.client.post("/gradio_api/upload", files={"files": ("a.png", GOOD)})
    assert answer.status_code == 403 and "allow cookies" in answer.text


def test_the_browser_is_told_to_ask_no_other_server(visitor: Visitor) -> None:
    answer = visitor.client.get("/")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "Path=/; HttpOnly; SameSite=Lax" in Visitor(str(visitor.client.base_url)).client.get(
        "/", headers={"cookie": "defusionpp=x"}).headers["set-cookie"]
    assert visitor.client.get("/gradio_api/proxy=http://127.0.0.1:9/").status_code == 403


def test_what_is_not_used_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1e6]
    monkeypatch.setattr("app.web.store.time", SimpleNamespace(monotonic=lambda: now[0], time=lambda: now[0]))
    store = Store(tmp_path, minutes=10)
    old, used = store.new_folder("me"), store.new_folder("me")
    broken = tmp_path / "upload_half"
    broken.write_bytes(b"x")
    os.utime(broken, (now[0], now[0]))
    now[0] += 9 * 60
    assert store.may_read(used / "x.png", "me") and not store.may_read(used / "x.png", "you")
    store.tidy()
    assert set(tmp_path.iterdir()) == {old, used, broken}
    now[0] += 2 * 60
    store.tidy()
    assert set(tmp_path.iterdir()) == {used}
    assert not store.may_read(old / "x.png", "me")
    store.close()
    assert not any(tmp_path.iterdir())


def test_only_this_computer_can_reach_it_unless_told_otherwise() -> None:
    assert parser().parse_args([]).host == "127.0.0.1"
    with listen("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        assert address[0] == "127.0.0.1"
        with pytest.raises(UserError, match=rf"127\.0\.0\.1, port {address[1]} cannot be used \(.*; --host and --port"):
            main(["--port", str(address[1])])
        others = socket.gethostbyname(socket.gethostname())
        if others != "127.0.0.1":
            with pytest.raises(OSError):
                socket.create_connection((others, address[1]), timeout=5).close()


@pytest.mark.parametrize(("words", "message"), [
    (["--port", "99999"], "port 99999 cannot be used"), (["--keep-minutes", "0"], "--keep-minutes 0; command line"),
    (["--host", "nowhere.invalid"], "nowhere.invalid, port 7860 cannot be used"),
    (["--prot", "1"], "see defusionpp app")])
def test_a_mistake_is_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as mistake:
        main(words)
    assert message in str(mistake.value) and "\n" not in str(mistake.value)


def test_the_help_fits_80_columns() -> None:
    assert max(map(len, parser().format_help().splitlines())) <= 80
