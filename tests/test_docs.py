"""The documentation is true: recipes render, the guide's code and commands run, pages and links exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ispkit.charts.scene import studio_scene
from ispkit.cli import main
from ispkit.core.frame import Domain
from ispkit.io.dng_writer import write_dng
from ispkit.isp.develop import develop_frame
from ispkit.isp.recipe import load_recipe
from ispkit.isp.stages import STAGES
from ispkit.sensor.simulate import Sensor, capture

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SLOW = {"calibrate", "rig", "kpi", "doctor", "batch-rendering"}  # a search through geometries; worker processes
GUIDE = sorted((DOCS / "guide").glob("*.md"))
PAGES = [DOCS / "index.md", *GUIDE]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
BLOCK = re.compile(r"^```(python|sh|yaml|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCES = {"", "python", "sh", "yaml", "console", "text"}
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


@pytest.fixture(scope="session")
def sample_folder(tmp_path_factory) -> Path:
    """What the guide takes for granted: two RAW files, a folder of them, a dump, the recipes."""
    folder = tmp_path_factory.mktemp("guide")
    scene = studio_scene(256, 384)
    write_dng(folder / "IMG_0001.dng", capture(scene, Sensor(), iso=200.0))
    write_dng(folder / "IMG_0002.dng", capture(scene, Sensor(cfa="GRBG"), cct_k=2856.0, iso=1600.0))
    (folder / "shoot").mkdir()
    for name in ("IMG_0001.dng", "IMG_0002.dng"):
        shutil.copy(folder / name, folder / "shoot")
    dump = capture(studio_scene(480, 640), Sensor(bits=10, black_level=64.0))
    dump.data[0, 0].numpy().astype("<u2").tofile(folder / "scene.raw")
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    return folder


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_a_recipe_renders_and_says_what_it_is_for(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert f"recipes/{path.name}" in text, "the comment shows the command"
    assert yaml.safe_load(text)["doc"]
    pipeline = load_recipe(path)
    assert pipeline.reads is Domain.RAW
    frame = capture(studio_scene(256, 256), Sensor(), iso=400.0).crop(64, 64, 96, 128)
    picture = develop_frame(frame, pipeline)
    assert picture.shape == (96, 128, 3)
    assert 2 < picture.mean() < 253
    assert picture.std() > 5


@pytest.fixture
def unregistered():
    """Undo what a page adds to the list of stages."""
    known = dict(STAGES)
    yield
    STAGES.clear()
    STAGES.update(known)


@pytest.mark.usefixtures("unregistered")
@pytest.mark.parametrize(
    "page", [pytest.param(p, id=p.stem, marks=[pytest.mark.slow] * (p.stem in SLOW)) for p in PAGES]
)
def test_the_code_of_a_page_runs(page, sample_folder, tmp_path, monkeypatch, capsys):
    """`python` and `sh` blocks run top to bottom in one namespace, `yaml` blocks become the file they name.

    A `text` block right after a `python` block is what that must print; `console` blocks are not run.
    """
    work = tmp_path / "work"
    shutil.copytree(sample_folder, work)
    monkeypatch.chdir(work)
    monkeypatch.setenv("COLUMNS", "200")
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"^```(\S*)$", text, re.MULTILINE)) <= FENCES
    namespace: dict[str, object] = {"__name__": page.stem}
    end = -1  # of the last python block
    for block in BLOCK.finditer(text):
        kind, code = block.groups()
        printed = capsys.readouterr().out
        if kind == "text":
            assert end < 0 or text[end : block.start()].strip() or printed == code
        elif kind == "python":
            end = block.end()
            line = text[: block.start()].count("\n") + 1  # tracebacks show the line of the page
            exec(compile("\n" * line + code, str(page), "exec"), namespace)
        elif kind == "sh":
            for command in code.replace("\\\n", " ").splitlines():
                run_command(command, monkeypatch)
        elif first_comment(code):
            (work / first_comment(code)).write_text(code, encoding="utf-8")


def run_command(command: str, monkeypatch) -> None:
    words = shlex.split(command, comments=True)
    if not words:
        return
    assert words[0] == "ispkit", f"only ispkit commands are run: {command}"
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        main.run()
    assert not stop.value.code, command


def first_comment(code: str) -> str:
    """The file name that a YAML block begins with, as in `# my.yaml`; empty if there is none."""
    named = re.match(r"# (\S+\.ya?ml)\n", code)
    return named[1] if named else ""


def test_generated_pages_name_every_stage_and_knob(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    monkeypatch.setattr(generate, "HERE", tmp_path)
    generate.main()
    index = (tmp_path / "reference" / "index.md").read_text(encoding="utf-8")
    for name, stage in STAGES.items():
        assert f"({name}.md)" in index
        page = (tmp_path / "reference" / f"{name}.md").read_text(encoding="utf-8")
        rows = [line for line in page.splitlines() if line.startswith(f"| `{name}.")]
        assert [row.split("`")[1] for row in rows] == [f"{name}.{k}" for k in stage.knobs]
        assert all(row.count("|") == 9 for row in rows), "a cell holds a bar and breaks the table"


def test_every_link_leads_somewhere():
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        for target in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
            path = target.split("#")[0]
            if not path or re.match(r"[a-z]+:", path):
                continue
            place = (page.parent / path).resolve()
            generated = place.is_relative_to(DOCS / "reference")
            known = place.stem in {"index", "presets", *STAGES} if generated else place.exists()
            assert known, f"{page.relative_to(ROOT)} links to {target}"
            on_site = place.is_relative_to(DOCS) or not page.is_relative_to(DOCS)
            assert on_site, f"{page.relative_to(ROOT)}: {target} is not on the site"


def test_every_page_of_the_guide_and_every_decision_is_listed():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [p.name for p in GUIDE if f"guide/{p.name}" not in nav] == []
    index = (DOCS / "decisions" / "index.md").read_text(encoding="utf-8")
    assert [p.name for p in DOCS.glob("decisions/0*.md") if f"({p.name})" not in index] == []


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("material") is None:
        pytest.skip("needs mkdocs and mkdocs-material (extra: docs)")
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    subprocess.run([sys.executable, tmp_path / "docs" / "generate.py"], check=True, cwd=tmp_path)
    build = [sys.executable, "-m", "mkdocs", "build", "--strict"]  # --quiet would hide the warnings from --strict
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in STAGES:
        assert (tmp_path / "site" / "reference" / name / "index.html").is_file()
    assert not list((tmp_path / "site").rglob("*.py"))
