"""The container file names what exists, and builds where there is a daemon."""

import re
import shutil
import subprocess

import pytest

from tests.conftest import ROOT

FILE = ROOT / "app" / "packaging" / "Dockerfile"


def test_it_installs_extras_that_exist_with_a_python_that_is_allowed():
    text, project = FILE.read_text(), (ROOT / "pyproject.toml").read_text()
    extras = re.search(r"\.whl\)\[([a-z,]+)\]", text)[1].split(",")
    assert all(re.search(rf"^{extra} = \[", project, re.M) for extra in extras)
    oldest = re.search(r'requires-python = ">=3\.(\d+)"', project)[1]
    assert int(re.search(r"ARG PYTHON=3\.(\d+)", text)[1]) >= int(oldest)
    assert 'ENTRYPOINT ["defusionpp"]' in text and re.search(r"^defusionpp = ", project, re.M)


@pytest.mark.slow
def test_it_builds_and_runs():
    program = shutil.which("docker")
    if program is None or subprocess.run([program, "info"], capture_output=True).returncode:
        pytest.skip("no container daemon here: the Dockerfile stays unbuilt")
    subprocess.run([program, "build", "--file", str(FILE), "--tag", "defusionpp-test", str(ROOT)], check=True)
    done = subprocess.run([program, "run", "--rm", "defusionpp-test", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("defusionpp "), done.stderr
