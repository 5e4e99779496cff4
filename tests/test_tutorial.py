"""The tutorial can be followed: what it says is to be typed works, from the first line to the last."""

import re
import shlex
from pathlib import Path

from click.testing import CliRunner

import thinned_cli

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_step(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = []
    for language, text in BLOCK.findall(TUTORIAL.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(text, "tutorial", "exec"), {})
            continue
        for line in text.splitlines():
            program, *arguments = shlex.split(line)
            assert program == "thinned"
            result = CliRunner().invoke(thinned_cli.program(), arguments)
            assert result.exit_code == 0, f"{line}\n{result.output}"
            commands.append(arguments[0])
    assert commands == ["compare", "train", "train", "tune", "train", "predict", "predict", "report"]
    left = [
        "methods/report.html",
        "first/records.jsonl",
        "rates/report.html",
        "final/config.toml",
    ]
    assert [name for name in left if not Path("runs", name).is_file()] == []
    assert len(Path("predictions.csv").read_text(encoding="utf-8").splitlines()) == 37
    assert len(Path("new-predicted.csv").read_text(encoding="utf-8").splitlines()) == 10
    assert Path("both.html").stat().st_size > 10_000
