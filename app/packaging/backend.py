"""The build step of the wheel: moves the packages of the checkout below one name.

A PEP 517 backend. It copies packages and scripts to ``defusionpp/`` in a temporary folder, prefixes their imports with
``defusionpp.``, and leaves the rest to setuptools. Modules in the checkout keep their short names.

    pip install .            pip wheel --no-deps .

The setting ``runtime=onnx`` builds ``defusionpp-onnx`` instead: the same modules with the few requirements of ONNX
Runtime, and without weights that need PyTorch. An extra cannot do this, as it only adds requirements.

    pip install . -C runtime=onnx            pip install '.[files]' -C runtime=onnx
"""

import ast
import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from setuptools import build_meta

__all__ = ["build_sdist", "build_wheel", "get_requires_for_build_sdist", "get_requires_for_build_wheel"]

NAME = "defusionpp"
ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = {"tests", "benchmarks", "hubconf"}
# Commands in texts of the checkout -> commands of the installed package.
COMMANDS = {"python -m metrics.leaderboard": "defusionpp leaderboard",
            "python -m metrics": "defusionpp metrics", "python -m data.check": "defusionpp check",
            "python -m models.export": "defusionpp export", "python selftrain.py": "defusionpp train",
            "python selftrain_multimodal.py": "defusionpp train --stage2", "python -m app": "defusionpp",
            "python test.py": "python -m defusionpp.test"}
# Requirements of the package without PyTorch, and of its extras; their bounds are those of pyproject.toml.
THIN = ("numpy", "onnxruntime")
THIN_EXTRAS = {"files": ("opencv-python-headless", "pillow", "tifffile", "imagecodecs", "filelock", "tqdm"),
               "watch": ("watchfiles",), "align": ("scipy",)}
BESIDE = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff")


def get_requires_for_build_wheel(config_settings: dict | None = None) -> list[str]:
    """No requirements beyond pyproject.toml; setuptools would search for the package in the checkout."""
    return []


get_requires_for_build_sdist = get_requires_for_build_wheel


def build_wheel(folder: str, config_settings: dict | None = None, metadata_directory: str | None = None) -> str:
    """Build the wheel in ``folder`` and return its file name."""
    with _staged(folder, config_settings) as out:
        return build_meta.build_wheel(out)


def build_sdist(folder: str, config_settings: dict | None = None) -> str:
    """Build a source archive of the moved package in ``folder``, from which setuptools can build a wheel."""
    with _staged(folder, config_settings) as out:
        return build_meta.build_sdist(out)


@contextlib.contextmanager
def _staged(folder: str, settings: dict | None = None) -> Iterator[str]:
    """Work inside a temporary plain setuptools project; yields ``folder`` as an absolute path.

    Raises:
        ValueError: unknown ``runtime``.
    """
    runtime = (settings or {}).get("runtime", "torch")
    if runtime not in ("torch", "onnx"):
        raise ValueError(f"runtime={runtime}; give torch (the default) or onnx")
    out, before = str(Path(folder).resolve()), Path.cwd()
    with tempfile.TemporaryDirectory(prefix="defusionpp-") as temporary:
        stage(ROOT, Path(temporary), thin=runtime == "onnx")
        os.chdir(temporary)
        try:
            yield out
        finally:
            os.chdir(before)


def stage(root: Path, out: Path, *, thin: bool = False) -> None:
    """Write the project that setuptools builds from.

    Args:
        root: the checkout.
        out: an empty folder.
        thin: the package without PyTorch.

    Raises:
        SyntaxError: a file is not valid Python, or has an import that cannot be moved.
    """
    folders, names = rooms(root)
    if thin:
        folders.remove(root / "pretrained")
    package = out / NAME
    for source in [*(path for folder in folders for path in _files(folder)), *_scripts(root)]:
        target = package / source.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".py":
            target.write_text(moved(source.read_text(encoding="utf-8"), names, str(source)), encoding="utf-8")
        else:
            shutil.copyfile(source, target)
    shutil.move(package / "app" / "packaging" / "package_init.py", package / "__init__.py")
    shutil.rmtree(package / "app" / "packaging")
    (package / "COMMIT").write_text(_commit(root), encoding="utf-8")
    for name in BESIDE:
        shutil.copyfile(root / name, out / name)
    pyproject = (root / "pyproject.toml").read_text(encoding="utf-8")
    own = re.compile(r'^build-backend = .*\nbackend-path = .*\n', re.MULTILINE)
    pyproject = own.sub('build-backend = "setuptools.build_meta"\n', pyproject)
    (out / "pyproject.toml").write_text(thinned(pyproject) if thin else pyproject, encoding="utf-8")


def thinned(pyproject: str) -> str:
    """The text of pyproject.toml for the package without PyTorch."""
    bounds = {name: bound for bound, name in re.findall(r'"(([\w-]+)>=[\d.]+)"', pyproject)}

    def listed(names: tuple[str, ...]) -> str:
        return "[" + ", ".join(f'"{bounds[name]}"' for name in names) + "]"

    text = pyproject.replace(f'name = "{NAME}"', f'name = "{NAME}-onnx"', 1)
    text = re.sub(r"^dependencies = \[.*?^\]", lambda _: f"dependencies = {listed(THIN)}", text, count=1,
                  flags=re.MULTILINE | re.DOTALL)
    extras = "".join(f"{extra} = {listed(names)}\n" for extra, names in THIN_EXTRAS.items())
    return re.sub(r"^(\[project\.optional-dependencies\]\n).*?(?=^\[)", lambda found: f"{found[1]}{extras}\n", text,
                  count=1, flags=re.MULTILINE | re.DOTALL)


def rooms(root: Path) -> tuple[list[Path], set[str]]:
    """The folders of the package, and all top-level names by which its modules import each other."""
    folders = [path.parent for path in sorted(root.glob("*/__init__.py")) if path.parent.name not in LEFT_OUT]
    names = {folder.name for folder in folders} | {path.stem for path in _scripts(root)}
    return [*folders, root / "pretrained"], names


def moved(source: str, names: set[str], file: str = "<source>") -> str:
    """A module's source with its own imports moved below ``defusionpp``.

    ``from utils.files import x`` becomes ``from defusionpp.utils.files import x``. In texts, ``python -m data.check``
    becomes ``defusionpp check``, and other modules are run as ``python -m defusionpp.data.demo``.

    Args:
        source: the source code.
        names: top-level names of the packages and scripts.
        file: name of the file, for messages.

    Raises:
        SyntaxError: ``import utils.files`` without ``as``, whose name in the code would change with the package.
    """
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source, file)):
        if isinstance(node, ast.Import):
            found = [alias for alias in node.names if alias.name.partition(".")[0] in names]
            if any(alias.asname is None for alias in found):
                raise SyntaxError(f"{file}, line {node.lineno}: give `import {found[0].name}` a name with `as`, or use "
                                  "`from ... import`, so that the package can be moved below another")
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                for alias in found:
                    lines[number] = re.sub(rf"\b{re.escape(alias.name)} as\b", f"{NAME}.{alias.name} as",
                                           lines[number])
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").partition(".")[0] in names:
            lines[node.lineno - 1] = re.sub(rf"\bfrom {re.escape(node.module)} ", f"from {NAME}.{node.module} ",
                                            lines[node.lineno - 1])
    text = "".join(lines)
    for command, installed in COMMANDS.items():
        text = re.sub(rf"\b{re.escape(command)}(?![\w.])", installed, text)
    return re.sub(rf"\bpython -m (?=(?:{'|'.join(sorted(names))})\b)", f"python -m {NAME}.", text)


def _scripts(root: Path) -> list[Path]:
    return [path for path in sorted(root.glob("*.py")) if path.stem not in LEFT_OUT]


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")]


def _commit(root: Path) -> str:
    """Short hash of the checkout's commit, with ``+`` if tracked files have changed; empty outside a clone."""
    if not (root / ".git").exists():
        return ""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + "+" * bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return ""
