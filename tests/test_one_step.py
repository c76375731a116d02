"""How many files one step of stage 3 leads through, from the batch to the changed weights."""

import sys

from conftest import train

from common.config import REPO_ROOT
from common.engine.loop import Update

MOST = 20


def test_one_step_leads_through_few_files(workspace, trained, tmp_path, monkeypatch):
    files: list[set[str]] = []
    step = Update.__call__

    def traced(self, *arguments):
        called = set()

        def note(frame, event, _):
            if event == "call":
                called.add(frame.f_code.co_filename)

        sys.setprofile(note)
        try:
            return step(self, *arguments)
        finally:
            sys.setprofile(None)
            files.append(called)

    monkeypatch.setattr(Update, "__call__", traced)
    arguments = (f"init.stage2={trained / 'tiny/stage2'}", "train.max_steps=2")
    outcome = train("stage3", *workspace.arguments("stage3", tmp_path, *arguments))
    assert outcome.code == 0, outcome.err
    prefixes = tuple(str(REPO_ROOT / name) for name in ("common", "stage", "llm_mde"))
    own = {name for name in files[1] if name.startswith(prefixes)}  # kept things are made in step 1
    assert str(REPO_ROOT / "stage3_depth/train.py") in own
    assert len(own) <= MOST, sorted(own)
