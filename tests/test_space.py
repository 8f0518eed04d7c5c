"""The repository can be pushed to a Hugging Face Space as it is."""

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
MEGABYTE = 1_000_000
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


@pytest.fixture(scope="module")
def front():
    """The front matter of the README, which configures a Space."""
    empty, matter, _ = (ROOT / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert empty == ""
    return yaml.safe_load(matter)


@pytest.fixture(scope="module")
def requirements():
    return {one.name: one for one in map(Requirement, (ROOT / "requirements.txt").read_text().splitlines())}


def imported(file):
    """The modules that a file imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_front_matter_is_what_a_space_takes(front):
    assert front["sdk"] == "gradio" and front["license"] == "apache-2.0"
    assert (ROOT / front["app_file"]).is_file()
    assert {front["colorFrom"], front["colorTo"]} <= COLOURS
    assert len(front["short_description"]) <= 60
    assert front["emoji"] and front["title"]


def test_versions_agree(front, requirements):
    assert isinstance(front["sdk_version"], str)
    assert requirements["gradio"].specifier.contains(front["sdk_version"])
    assert f"{front['python_version']}" in {"3.11", "3.12", "3.13"}
    for name, requirement in requirements.items():
        assert requirement.url is None and requirement.specifier.contains(version(name)), name


def test_everything_imported_is_required(requirements):
    """Whatever app.py, ui and advdm import is in requirements.txt, in the standard library, or comes with those."""
    names = {"PIL": "pillow", "skimage": "scikit-image"}
    # pandas and pydantic are gradio's own, matplotlib is asked for in a sentence.
    known = {"advdm", "ui", "pandas", "pydantic", "gradio_client", "huggingface_hub", "matplotlib"}
    files = (ROOT / "app.py", *ROOT.glob("ui/*.py"), *ROOT.glob("advdm/**/*.py"))
    found = {name.split(".")[0] for file in files for name in imported(file)}
    foreign = {names.get(name, name.replace("_", "-")) for name in found - set(sys.stdlib_module_names) - known}
    assert foreign <= set(requirements)


def test_torch_is_imported_after_what_must_come_before_it():
    """ZeroGPU wants spaces first; how torch's threads wait is set before it starts them."""
    code = (
        "import sys; from advdm import environment; assert 'torch' not in sys.modules; "
        "environment.prepare(); import spaces; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(imported(ROOT / "app.py"))[:2] == ["advdm", "spaces"]


def test_no_file_is_too_large_or_has_a_name_that_a_checkout_refuses():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).exists()]
    sizes = {path: path.stat().st_size for path in paths}
    assert max(sizes.values()) < 10 * MEGABYTE
    for folder, most in {"": 60, "examples": 5, "advdm/atelier": 30}.items():
        assert sum(size for path, size in sizes.items() if path.is_relative_to(ROOT / folder)) < most * MEGABYTE
    assert all(path.name.isascii() and not set('<>:"|?*\\') & set(path.name) for path in paths)
