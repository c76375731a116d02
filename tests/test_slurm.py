"""The Slurm recipe, with stand-ins for `srun` and `scontrol` that do what Slurm's own do."""

import os
import shutil
import signal
import time

import pytest
from conftest import Outcome, start_process, write_program
from test_resume import last

from common.config import REPO_ROOT

# One task for each machine; hands SIGTERM on to them; the highest exit code.
SRUN = """
trap 'kill -TERM $tasks 2>/dev/null' TERM
tasks=
i=0
while [ $i -lt $SLURM_NNODES ]; do
    SLURM_NODEID=$i "$@" & tasks="$tasks $!"
    i=$((i + 1))
done
highest=0
for task in $tasks; do
    while :; do
        code=0; wait $task || code=$?
        kill -0 $task 2>/dev/null || break
    done
    [ $code -le $highest ] || highest=$code
done
exit $highest
"""
SCONTROL = """
case "$1 $2" in
    "show hostnames") test "$3" = "gpu[1-2]" && printf "127.0.0.1\\ngpu2\\n" ;;
    "show job")
        state=$(cat "$SLURM_STANDIN/state" 2>/dev/null || echo RUNNING)
        echo "   JobState=$state Reason=None Dependency=(null)" ;;
    "requeue 123456") test ! -f "$SLURM_STANDIN/refuses" && : > "$SLURM_STANDIN/requeued" ;;
    *) exit 1 ;;
esac
"""
TOLD = 'echo "$NODE_RANK of $NNODES, $NPROC at $MASTER_ADDR:$MASTER_PORT: $*"'
# A training that runs until it is told to stop.
RUNS = """
trap 'sleep 0.3; echo saved; exit 130' TERM
: > started.$NODE_RANK
i=0
while [ $i -lt 600 ]; do sleep 0.1; i=$((i + 1)); done
"""


class Job:
    """`sbatch scripts/slurm_example.sh WORDS`, going on."""

    def __init__(self, folder, *words, cwd, nodes):
        tools = folder / "tools"
        self.folder = folder
        self.process = start_process(
            "sh",
            str(shutil.copy(REPO_ROOT / "scripts/slurm_example.sh", tools / "slurm_script")),
            *words,
            cwd=cwd,
            PATH=f"{tools}:{os.environ['PATH']}",
            SLURM_STANDIN=str(folder),
            SLURM_JOB_NODELIST="gpu[1-2]",
            SLURM_JOB_ID="123456",
            SLURM_NNODES=str(nodes),
            SLURM_GPUS_ON_NODE="4" if nodes > 1 else "1",
        )

    def wait_for(self, path, text="", seconds=150):
        end = time.monotonic() + seconds
        while not (path.exists() and text in path.read_text()):
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end
            time.sleep(0.05)

    def ended(self):
        out, err = self.process.communicate(timeout=100)
        return Outcome(self.process.returncode, out, err)

    @property
    def is_requeued(self):
        return (self.folder / "requeued").exists()


@pytest.fixture
def submit(tmp_path):
    """Submit a job in a folder with stand-ins for Slurm and, unless `cwd` is given, stages."""
    jobs = []
    write_program(tmp_path / "tools/scontrol", SCONTROL)
    write_program(tmp_path / "tools/srun", SRUN)

    def start(*words, training=TOLD, cwd=tmp_path, nodes=2):
        write_program(tmp_path / "stage3_depth/train.sh", training)
        write_program(tmp_path / "llm_mde/train.sh", f"echo LLM; {training}")
        jobs.append(Job(tmp_path, *words, cwd=cwd, nodes=nodes))
        return jobs[-1]

    yield start
    for job in jobs:
        if job.process.poll() is None:
            os.killpg(job.process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "words", [["configs/nyu/stage3.yaml"], ["stage3_depth", "a b.yaml"], ["train.lr=1e-4"], []]
)
def test_every_machine_gets_its_place(submit, words):
    job = submit(*words)
    outcome = job.ended()
    assert outcome.code == 0, outcome.err
    rest = " ".join(word for word in words if word != "stage3_depth")
    assert sorted(outcome.out.splitlines()) == [
        f"0 of 2, 4 at 127.0.0.1:23456: {rest}",
        f"1 of 2, 4 at 127.0.0.1:23456: {rest}",
    ]
    assert not job.is_requeued


def test_another_stage(submit):
    out = submit("llm_mde/", "x.yaml").ended().out
    assert out.count("LLM") == 2 and "0 of 2, 4 at 127.0.0.1:23456: x.yaml" in out


def test_a_stage_that_does_not_exist(submit):
    outcome = submit("stage9", "x.yaml").ended()
    assert outcome.code == 2
    assert "/stage9/train.sh; submit from the repository root" in outcome.errors[0]


@pytest.mark.parametrize("code", [1, 2, 137])
def test_a_run_that_failed_is_not_queued_again(submit, code):
    job = submit(training=f"exit $((NODE_RANK * {code}))")
    assert job.ended().code == code
    assert not job.is_requeued


def run_until_told(submit):
    job = submit(training=RUNS)
    for machine in (0, 1):
        job.wait_for(job.folder / f"started.{machine}")
    return job


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_run_whose_time_is_nearly_up_saves_and_is_queued_again(submit, number):
    """Slurm signals the batch script, and nothing else."""
    job = run_until_told(submit)
    job.process.send_signal(number)
    outcome = job.ended()
    assert outcome.code == 130, outcome.err
    assert outcome.out.count("saved") == 2
    assert "job 123456 is queued again" in outcome.out and job.is_requeued


def test_a_run_that_is_preempted_is_queued_again(submit):
    """Slurm sends SIGTERM to the tasks, and nothing to the script."""
    job = submit(training="exit 130")
    assert job.ended().code == 130 and job.is_requeued


def test_a_job_that_is_cancelled_is_not_queued_again(submit):
    job = run_until_told(submit)
    (job.folder / "state").write_text("CANCELLED")
    job.process.send_signal(signal.SIGTERM)
    outcome = job.ended()
    assert outcome.code == 130 and "was cancelled" in outcome.out
    assert not job.is_requeued


def test_a_cluster_that_does_not_queue_again(submit):
    job = run_until_told(submit)
    (job.folder / "refuses").touch()
    job.process.send_signal(signal.SIGUSR1)
    outcome = job.ended()
    assert outcome.code == 130 and "submit it to go on" in outcome.err


@pytest.mark.slow
def test_a_real_training_goes_on_in_the_job_that_is_queued_again(submit, workspace, tmp_path):
    settings = ("train.max_steps=100000", "eval.every=100000")
    words = workspace.arguments("stage1", tmp_path / "runs", *settings)
    run = tmp_path / "runs/tiny/stage1"
    job = submit("stage1_vae", *words, cwd=REPO_ROOT, nodes=1)
    job.wait_for(run / "metrics.jsonl", '"step": 2,')
    job.process.send_signal(signal.SIGUSR1)
    outcome = job.ended()
    assert outcome.code == 130 and job.is_requeued, outcome.err
    step = last(run)["step"]
    again = submit("stage1_vae", *words, cwd=REPO_ROOT, nodes=1)
    again.wait_for(run / "log.txt", f"resuming at step {step}")
    again.process.send_signal(signal.SIGUSR1)
    assert again.ended().code == 130
    assert last(run)["step"] >= step
