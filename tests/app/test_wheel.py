"""The installed package works beside other people's `utils` and `models`, holds what it needs, and stays light."""

import importlib.util
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from tests.app.conftest import Installed
from tests.conftest import ROOT
from utils.cli import EXTRAS
from utils.version import VERSION

_spec = importlib.util.spec_from_file_location("backend", ROOT / "app" / "packaging" / "backend.py")
backend = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(backend)

FUSE = """
import sys
sys.modules.update(dict.fromkeys({blocked}))
import numpy as np, defusionpp
rng = np.random.default_rng(0)
first, second = (rng.integers(0, 256, (48, 64), dtype=np.uint8) for _ in range(2))
fused = defusionpp.Fuser.from_pretrained("defusionpp_hr", device="cpu")(first, second).fused
print(fused.shape, defusionpp.compute("EN,SSIM,VIF", first, second, fused[..., 0]).keys())
"""


SOURCE = """\
import os
import utils.files as files, \\
    utils.locks as locks
from models import (
    a,
)
from utilsx import b
def f():
    from metrics.table import METRICS  # from metrics
    say('python -m metrics --list', 'python -m metrics.index')
"""
MOVED = """\
import os
import defusionpp.utils.files as files, \\
    defusionpp.utils.locks as locks
from defusionpp.models import (
    a,
)
from utilsx import b
def f():
    from defusionpp.metrics.table import METRICS  # from metrics
    say('defusionpp metrics --list', 'python -m defusionpp.metrics.index')
"""


def test_imports_of_rooms_are_moved_and_nothing_else() -> None:
    assert backend.moved(SOURCE, {"utils", "models", "metrics"}) == MOVED


def test_the_build_needs_nothing_more() -> None:
    """What pip asks for in an isolated build, before anything is copied."""
    assert backend.get_requires_for_build_wheel() == backend.get_requires_for_build_sdist() == []


def test_torch_hubs_file_is_not_part_of_the_package() -> None:
    """torch.hub reads it in a clone, where the packages have their short names."""
    assert (ROOT / "hubconf.py").is_file() and "hubconf" not in backend.rooms(ROOT)[1]


def test_an_import_that_cannot_be_moved_stops_the_build() -> None:
    with pytest.raises(SyntaxError, match=r"x\.py, line 1: give `import utils\.files` a name"):
        backend.moved("import utils.files\n", {"utils"}, "x.py")


def test_fuses_and_scores_beside_foreign_packages_without_the_extras(installed: Installed) -> None:
    """The default head needs no transformer library either."""
    done = installed.run("-c", FUSE.format(blocked=[*EXTRAS, "timm", "torchvision"]))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(48, 64, 1) dict_keys(['EN', 'SSIM', 'VIF'])\n"


def test_models_by_name(installed: Installed) -> None:
    done = installed.run("-c", "import defusionpp as d; print(d.list_models(pretrained=True)); "
                         "m = d.create_model('defusionpp_hr', pretrained=True); print(type(m).__module__[:17]); "
                         "print('SaliencePyramid' in d.list_models(), d.__version__); "
                         "from defusionpp.models.hub import listed_checksums; print(len(listed_checksums()))")
    assert done.stdout.splitlines() == ["['defusionpp_cud', 'defusionpp_hr', 'defusionpp_mixed']", "defusionpp.models",
                                        f"True {VERSION}", "5"], done.stderr


def test_a_part_of_the_suite_passes_on_the_installed_package(installed: Installed, tmp_path: Path) -> None:
    names = backend.rooms(ROOT)[1]
    for path in ["conftest.py", "__init__.py", "models/__init__.py", "models/test_pyramid.py", "models/test_windows.py",
                 "utils/__init__.py", "utils/test_files.py"]:
        target = tmp_path / "tests" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(backend.moved((ROOT / "tests" / path).read_text(), names))
    done = installed.run("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--rootdir", str(tmp_path),
                         "-c", "/dev/null", str(tmp_path / "tests"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d\d passed", done.stdout)


def test_a_missing_extra_is_one_line_with_the_command(installed: Installed) -> None:
    """Scoring runs without the report's libraries; the report names what to install."""
    for name in ("a", "b", "fused"):
        (installed.elsewhere / "pictures" / name).mkdir(parents=True)
        cv2.imwrite(str(installed.elsewhere / "pictures" / name / "1.png"), np.eye(40, 40, dtype=np.uint8) * 200)
    script = f"import sys; sys.modules.update(dict.fromkeys({sorted(EXTRAS)})); sys.argv[1:] = 'metrics --a " \
             "pictures/a --b pictures/b --fused pictures/fused --names EN{}'.split(); " \
             "from defusionpp.app.command import main; main()"
    scored = installed.run("-c", script.replace("{}", ""))
    assert scored.returncode == 0 and "EN" in scored.stdout, scored.stderr
    report = installed.run("-c", script.replace("{}", " --out report --html"))
    assert report.returncode == 2
    assert report.stderr.splitlines()[-1] == ("error: jinja2 is not installed; this command needs it; "
                                              "pip install 'defusionpp[report]'")


def test_every_module_finds_the_others(installed: Installed) -> None:
    script = ("import importlib, pkgutil, sys, defusionpp\n"
              "without = 0\n"
              "for module in pkgutil.walk_packages(defusionpp.__path__, 'defusionpp.'):\n"
              "    if not module.name.endswith('__main__'):\n"
              "        try: importlib.import_module(module.name)\n"
              "        except ModuleNotFoundError as error:\n"
              "            assert error.name == 'gradio', error  # too large for the checkout's environment\n"
              "            without += 1\n"
              "print(without + sum(name.startswith('defusionpp.') for name in sys.modules))")
    done = installed.run("-c", script)
    assert done.returncode == 0, done.stderr
    modules = [path for path in (installed.site / "defusionpp").rglob("*.py") if path.name != "__main__.py"]
    assert int(done.stdout) == len(modules) - 1  # all but defusionpp itself


@pytest.mark.parametrize("command", ["fuse", "app", "metrics", "train"])
def test_the_console_script_answers_help(installed: Installed, command: str) -> None:
    done = installed.command(command, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: defusionpp {command} ")


def test_help_imports_no_heavy_library(installed: Installed) -> None:
    script = "import sys; sys.argv[1:] = [{!r}, '--help']; from defusionpp.app.command import dispatch\n" \
             "try: dispatch(sys.argv[1:])\nexcept SystemExit: pass\n" \
             "print(sorted({{'torch', 'cv2', 'numpy', 'pydantic'}} & set(sys.modules)), file=sys.stderr)"
    assert all(installed.run("-c", script.format(command)).stderr == "[]\n" for command in ("fuse", "app"))
    assert installed.run("-c", "import sys, defusionpp; print('torch' in sys.modules)").stdout == "False\n"


def test_one_version_everywhere(installed: Installed) -> None:
    assert installed.command("--version").stdout == f"defusionpp {VERSION}\n"
    assert len(list(installed.site.glob(f"defusionpp-{VERSION}.dist-info"))) == 1
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert f"## {VERSION} ({citation['date-released']})" in (ROOT / "CHANGELOG.md").read_text()
    assert citation["version"] == VERSION


def test_the_package_without_pytorch_has_two_requirements(tmp_path: Path) -> None:
    """The same modules and bounds, no weights, and another name."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 cannot read TOML")
    backend.stage(ROOT, tmp_path, thin=True)
    thin = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]
    full = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = {line for lines in (full["dependencies"], *full["optional-dependencies"].values()) for line in lines}
    assert thin["name"] == "defusionpp-onnx" and thin["scripts"] == full["scripts"]
    assert [re.match(r"[\w-]+", line)[0] for line in thin["dependencies"]] == ["numpy", "onnxruntime"]
    extras = thin["optional-dependencies"]
    assert list(extras) == ["files", "watch", "align"]
    assert {line for lines in (thin["dependencies"], *extras.values()) for line in lines} <= bounds
    modules = {path.relative_to(tmp_path / "defusionpp") for path in (tmp_path / "defusionpp").rglob("*.py")}
    assert {Path("models/fuser.py"), Path("app/fuse.py"), Path("models/head.py")} <= modules
    assert not any(tmp_path.rglob("*.safetensors"))


def test_an_unknown_runtime_stops_the_build(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"runtime=jax; give torch \(the default\) or onnx"):
        backend.build_wheel(str(tmp_path), {"runtime": "jax"})


def test_bounds_are_those_of_requirements() -> None:
    """The package's dependencies and the checkout's environment are one list."""
    text = (ROOT / "pyproject.toml").read_text()
    elsewhere = {"setuptools>=77", "dji-thermal-cli>=1.4", "gradio>=6.31",  # Python 3.12; 166 MB, and an older Pillow
                 "nbclient>=0.10", "ipykernel>=6.29"}  # tests of the notebooks skip without them
    bounds = set(re.findall(r'"([A-Za-z][\w-]*>=[\d.]+)"', text)) - elsewhere
    listed = {line.strip() for line in (ROOT / "requirements.txt").read_text().splitlines() if line[:1].isalpha()}
    assert bounds == listed - {line for line in listed if line.startswith(("pytest", "ruff", "setuptools"))}
