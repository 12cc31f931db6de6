"""The wheel, built once and installed beside packages of other people that have our rooms' names."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.app.page_server import Served, serve
from tests.conftest import ROOT


@dataclass(frozen=True)
class Installed:
    """The installed package.

    Attributes:
        site: the folder it was installed to.
        elsewhere: where its commands run; holds foreign packages ``utils`` and ``models``.
    """

    site: Path
    elsewhere: Path

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess:
        """Run Python with these arguments; the checkout is not on its path."""
        path = os.pathsep.join([str(self.elsewhere), str(self.site)])
        return subprocess.run([sys.executable, *words], cwd=self.elsewhere, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": path, **variables}, timeout=300)

    def command(self, *words: str) -> subprocess.CompletedProcess:
        """Run the console script ``defusionpp``."""
        return self.run(str(self.site / "bin" / "defusionpp"), *words)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Builds the wheel, without a network, and installs it."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)], check=True)
    site, elsewhere = folder / "site", folder / "elsewhere"
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--no-compile", "--target", str(site),
                    *map(str, folder.glob("*.whl"))], check=True)
    for name in ("utils", "models", "data", "metrics", "option", "app", "selftrain"):
        (elsewhere / name).mkdir(parents=True)
        (elsewhere / name / "__init__.py").write_text("raise RuntimeError('somebody else\\'s package')\n")
    return Installed(site, elsewhere)


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The web page, for all tests of the session."""
    pytest.importorskip("gradio", reason="the web page needs Gradio (166 MB): pip install 'defusionpp[app]'")
    with serve(tmp_path_factory.mktemp("page")) as served:
        yield served
