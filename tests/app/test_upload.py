"""The upload to Hugging Face: cards with metadata, listed weights, one tagged commit, and nothing unless asked."""

import re

import pytest
import yaml

from app.packaging import upload
from models.weight_files import PRETRAINED, shipped_names, teacher_names
from utils.errors import UserError
from utils.version import VERSION


class Hub:
    """Stands in for ``huggingface_hub.HfApi`` and notes its calls."""

    calls: list[tuple] = []  # noqa: RUF012 (emptied by the fixture)

    def __init__(self, **_: object) -> None:
        pass

    def __getattr__(self, name: str):
        return lambda repository, *given, **named: self.calls.append((name, repository, given, named))


@pytest.fixture
def remote(monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed (extra hub)")
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(Hub, "calls", [])
    return Hub


@pytest.mark.parametrize("name", shipped_names())
def test_every_card_has_the_metadata_of_the_hub(name):
    about = upload.card_metadata(PRETRAINED / f"{name}.md")
    assert about["license"] == "mit" and about["library_name"] == "defusionpp"
    pipeline = "image-feature-extraction" if name in teacher_names() else "image-to-image"
    assert about["pipeline_tag"] == pipeline and "image-fusion" in about["tags"]


@pytest.mark.parametrize("name", shipped_names())
def test_links_of_a_card_lead_somewhere_or_are_text(name):
    card = PRETRAINED / f"{name}.md"
    plain, linked = (upload.readme(card, source) for source in (None, "https://example.org/code/"))
    assert not re.search(r"\]\((?!https?:)", plain + linked)
    for target in re.findall(rf"https://example\.org/code/blob/v{re.escape(VERSION)}/([^)]+)\)", linked):
        assert (PRETRAINED.parent / target).is_file()
    assert yaml.safe_load(plain.split("---")[1])["license"] == "mit"


def test_nothing_is_uploaded_unless_asked(remote, capsys):
    upload.main(["someone"])
    told = capsys.readouterr().out
    assert remote.calls == [] and told.endswith("nothing was uploaded; add --upload\n")
    assert all(f"someone/{name}@v{VERSION}\n  README.md" in told for name in shipped_names())


def test_an_upload_is_one_tagged_commit(remote):
    upload.main(["someone", "defusionpp_hr", "--upload", "--source", "https://example.org/code"])
    names, repositories = zip(*(call[:2] for call in remote.calls))
    assert names == ("create_repo", "create_commit", "create_tag") and set(repositories) == {"someone/defusionpp_hr"}
    files = {one.path_in_repo: one.path_or_fileobj for one in remote.calls[1][2][0]}
    assert set(files) == {"README.md", "defusionpp_hr.safetensors", "LICENSE"}
    assert files["defusionpp_hr.safetensors"] == (PRETRAINED / "defusionpp_hr.safetensors").read_bytes()
    assert files["README.md"].startswith(b"---\nlicense: mit\n") and b"example.org" in files["README.md"]
    assert remote.calls[2][3] == {"tag": f"v{VERSION}", "exist_ok": True}


def test_a_mistake_stops_before_the_first_upload(remote, monkeypatch, tmp_path):
    with pytest.raises(UserError, match=r"defusionpp_hd: no such weights \(did you mean defusionpp_hr"):
        upload.main(["someone", "defusionpp_cud", "defusionpp_hd", "--upload"])
    monkeypatch.setattr(upload, "listed_checksums", lambda: {})
    with pytest.raises(UserError, match=r"defusionpp_cud\.safetensors: not the file of pretrained/SHA256SUMS"):
        upload.main(["someone", "--upload"])
    bare = tmp_path / "card.md"
    bare.write_text("---\nlicense: mit\n---\n# Weights\n")
    with pytest.raises(UserError, match=r"card\.md: its metadata header lacks library_name, pipeline_tag, tags"):
        upload.card_metadata(bare)
    assert remote.calls == []
