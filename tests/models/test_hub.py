"""Weights by name: torch.hub from anywhere, and Hugging Face repositories that are checked and never unpickled."""

import functools
import hashlib
import http.server
import importlib.util
import logging
import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest

from models import Fuser, hub, list_models
from models.weight_files import PRETRAINED, find_weights, pretrained_names
from tests.conftest import ROOT
from utils.errors import MissingFileError, UserError
from utils.version import VERSION

HEAD = (PRETRAINED / "defusionpp_hr.safetensors").read_bytes()


def test_the_list_of_checksums_is_that_of_the_shipped_files():
    """If weights were changed on purpose: ``(cd pretrained && sha256sum *.safetensors > SHA256SUMS)``."""
    actual = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in PRETRAINED.glob("*.safetensors")}
    assert hub.listed_checksums() == actual


def load_hubconf():
    """``hubconf.py`` as torch.hub loads it."""
    spec = importlib.util.spec_from_file_location("hubconf", ROOT / "hubconf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_torch_hub_lists_every_shipped_name():
    hubconf = load_hubconf()
    entries = {name for name in dir(hubconf) if callable(getattr(hubconf, name)) and not name.startswith("_")}
    assert entries == {*pretrained_names(), "fuser", "create_model"}
    assert all(importlib.util.find_spec(name) for name in hubconf.dependencies)


HUB = """
import sys, numpy as np, torch
fuse = torch.hub.load({root!r}, "defusionpp_hr", source="local", device="cpu", align="auto")
assert not [place for place in sys.path if place == {root!r}]
rng = np.random.default_rng(0)
first, second = (rng.integers(0, 256, (48, 64), dtype=np.uint8) for _ in range(2))
model = torch.hub.load({root!r}, "create_model", "FusionHead", source="local")
print(fuse(first, second).fused.shape, fuse.name, type(model).__name__)
"""


def test_torch_hub_loads_a_fuser_from_another_folder(tmp_path):
    code = HUB.format(root=str(ROOT))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "(48, 64, 1) FusionHead FusionHead\n", done.stderr


def test_torch_hub_says_who_has_a_name_of_ours(monkeypatch):
    foreign = types.ModuleType("utils")
    foreign.__file__ = "/their/utils.py"
    monkeypatch.setitem(sys.modules, "utils", foreign)
    with pytest.raises(ImportError, match=r"another module is called utils \(/their/utils\.py\).*pip install"):
        load_hubconf().defusionpp_hr()


class Server(http.server.BaseHTTPRequestHandler):
    """Stands in for the Hub: ``/owner/name/resolve/revision/file``."""

    files: dict[str, bytes] = {}  # noqa: RUF012 (set by the fixture)
    asked: list[str] = []  # noqa: RUF012

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, body: bool = True) -> None:
        type(self).asked.append(self.path)
        content = self.files.get(self.path)
        self.send_response(200 if content is not None else 404)
        if content is None:
            repository = self.path.partition("/resolve/")[0]
            known = any(path.startswith(f"{repository}/") for path in self.files)
            revision = any(path.startswith(self.path.rpartition("/")[0]) for path in self.files)
            self.send_header("X-Error-Code", "EntryNotFound" if revision else "RevisionNotFound" if known
                             else "RepoNotFound")
            content = b""
        self.send_header("X-Repo-Commit", "c" * 40)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def remote(monkeypatch, tmp_path):
    """An empty Hub on this machine, with an empty cache: path -> content."""
    library = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed (extra hub)")
    handler = type("Handler", (Server,), {"files": {}, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def unplug() -> None:
        monkeypatch.setattr("time.sleep", lambda _: None)  # the library tries again and again, for 20 s
        server.shutdown()
        server.server_close()

    handler.unplug = unplug
    monkeypatch.setattr(library, "hf_hub_download", functools.partial(
        library.hf_hub_download, endpoint=f"http://127.0.0.1:{server.server_address[1]}", cache_dir=tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    yield handler
    unplug()


def test_a_repository_gives_the_fuser_of_its_file_and_then_the_cache_does(remote, caplog):
    remote.files["/someone/defusionpp_hr/resolve/main/defusionpp_hr.safetensors"] = HEAD
    pair = np.random.default_rng(0).integers(0, 256, (2, 40, 50), dtype=np.uint8)
    with caplog.at_level(logging.WARNING):
        fused = Fuser.from_pretrained("someone/defusionpp_hr", device="cpu")(*pair).fused
    assert np.array_equal(fused, Fuser.from_pretrained("defusionpp_hr", device="cpu")(*pair).fused)
    assert not caplog.records
    remote.unplug()
    assert find_weights("someone/defusionpp_hr").read_bytes() == HEAD


def test_a_changed_file_of_a_listed_name_is_refused(remote):
    remote.files["/someone/defusionpp_hr/resolve/main/defusionpp_hr.safetensors"] = HEAD[:-1] + b"\x00"
    with pytest.raises(UserError, match=rf"someone/defusionpp_hr: its defusionpp_hr is not the one of version "
                                        rf"{VERSION} .*, expected bc6|give its release") as told:
        find_weights("someone/defusionpp_hr")
    assert f"someone/defusionpp_hr@v{VERSION}" in str(told.value) and "\n" not in str(told.value)


def test_weights_of_others_and_revisions(remote, caplog):
    remote.files["/lab/night.v2/resolve/pr/1/model.safetensors"] = HEAD
    remote.files["/lab/night.v2/resolve/pr%2F1/model.safetensors"] = HEAD
    with caplog.at_level(logging.WARNING):
        assert find_weights("lab/night.v2@pr/1").read_bytes() == HEAD
    digest = hashlib.sha256(HEAD).hexdigest()
    assert f"lab/night.v2@pr/1: weights of others, not on the list of this version (SHA-256 {digest})" in caplog.text
    with pytest.raises(MissingFileError, match="has no revision v9; leave it out"):
        find_weights("lab/night.v2@v9")


def test_a_pickle_is_never_asked_for(remote):
    remote.files |= {f"/lab/old/resolve/main/{name}": b"pickle" for name in ("pytorch_model.bin", "old.pth", "old.pt")}
    with pytest.raises(MissingFileError, match=r"has neither old\.safetensors nor model\.safetensors"):
        find_weights("lab/old")
    assert all(path.endswith(".safetensors") for path in remote.asked) and remote.asked


def test_what_cannot_be_fetched_is_one_line(remote, monkeypatch):
    with pytest.raises(MissingFileError, match="Hugging Face repository no/such does not exist, or is private"):
        find_weights("no/such")
    remote.unplug()
    with pytest.raises(MissingFileError, match="no/net cannot be reached and is not in the cache; check the network"):
        find_weights("no/net")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingFileError, match=r"no/lib: no such weight file; .*pip install 'defusionpp\[hub\]'"):
        find_weights("no/lib")


@pytest.mark.parametrize("path", ["weights/x.safetensors", "weights/x.pth", "a/b/c", "/a/b", "./a", "a", "../a/b",
                                  "a/b@", "there/b", "a b/c"])
def test_paths_are_not_taken_for_repositories(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    assert not hub.is_repository(path)
    with pytest.raises(MissingFileError, match="no such weight file; give the path"):
        find_weights(path)


def test_models_by_name():
    assert list_models(pretrained=True) == ["defusionpp_cud", "defusionpp_hr", "defusionpp_mixed"]
    assert Fuser.from_pretrained("defusionpp_hr", device="cpu").name == "FusionHead"
