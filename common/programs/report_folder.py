"""`--report DIR` of the programs that score: gathered in every process, written by the main one."""

import shlex
import sys
from pathlib import Path

from common.config import REPO_ROOT
from common.evaluation.report.document import PAGE, Origin, write_report
from common.evaluation.report.gathered import Gathered
from common.evaluation.results import EvalResult
from common.files import check_output
from common.runtime.machine import environment
from common.runtime.processes import Processes


class ReportFolder:
    """gathered: what this process's images have added."""

    def __init__(self, folder: Path) -> None:
        """A `UserError` now, before anything is scored, where nothing can be written."""
        check_output(folder / PAGE)
        self.folder, self.gathered = folder, Gathered()

    def write(
        self, result: EvalResult, labels: dict[str, str], max_depth: float, processes: Processes
    ) -> None:
        """Write the report of all processes' images, and say where it is; all of them call this.

        labels: see `result_dict`. max_depth: meters.
        """
        parts = processes.gather([self.gathered])
        if not processes.is_main:
            return
        facts = {**environment(), "processes": str(processes.world_size)}
        run_folder = _run_folder(labels.get("checkpoint"))
        origin = Origin(labels, facts, typed_command(), max_depth, run_folder)
        page = write_report(self.folder, result, Gathered.merge(parts), origin)
        print(f"report: {page}", file=sys.stderr)


def typed_command() -> str:
    """The command line of this program, as one would type it."""
    program = Path(sys.argv[0]).absolute()
    if program.is_relative_to(REPO_ROOT):
        program = program.relative_to(REPO_ROOT)
    return shlex.join(["python", str(program), *sys.argv[1:]])


def _run_folder(checkpoint: str | None) -> Path | None:
    """The folder of the run that wrote a checkpoint; None: it does not lie in one."""
    if checkpoint is None:
        return None
    folder = Path(checkpoint).absolute().parent.parent
    return folder if (folder / "config.yaml").is_file() else None
