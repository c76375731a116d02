"""`train.dry_run=true`: all that a run does before its first step, two steps, and what it takes.

    images/s, peak memory, hours to the end, what would be written where; then everything is gone

What is made on the way (encoded features) lies in a folder `.dry_run_...` beside the runs, which is
removed at the end. Only what a model hub has sent stays, in the hub's own cache.
"""

import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from common.data.batch import Failure
from common.data.dataset import DepthDataset
from common.data.frames import frame_cache
from common.data.splits import is_searched
from common.engine.log_window import memory_gb
from common.engine.loop import Plan
from common.engine.optimization import learning_rate
from common.engine.update import Update
from common.errors import UserError
from common.evaluation.scoring import predict_captions, score_batch
from common.files import existing_folder
from common.programs.assembly import evaluation_batches, training_batches
from common.programs.inference import prediction_on, scoring_rule
from common.programs.preflight import check_outputs, num_bytes_to_resume
from common.programs.ready import Ready, log_start, make_ready
from common.programs.run import Run, choose_folder, find_resumed
from common.programs.session import Session, bind_task
from common.programs.settings import Settings
from common.programs.stage import Start
from common.runtime.checkpoints import num_bytes
from common.runtime.claims import find_holder
from common.runtime.processes import Processes, wrap
from common.stops import heeded_stops, note_arrival, restore_handlers

NUM_STEPS = 2  # the first one warms up, the second is measured
READ_SECONDS = 1.0  # for reading training images alone


def try_out(settings: Settings, processes: Processes) -> None:
    """Set up as a run would, take two steps, tell what was found, leave nothing behind."""
    with scratch_folder(settings.config().output_root, processes) as scratch:
        ready = make_ready(settings, processes, scratch)
        stage, config = ready.stage, ready.config
        folder, last = choose_folder(config, stage.name), find_resumed(config, stage.name)
        if processes.is_main:
            check_outputs(folder, ready.model, config.train, len(ready.data.train))
        run = Run(scratch, stage.name, processes, last)
        log_start(ready, run)
        start = Start(ready.data, ready.earlier, run.log, is_fresh=last is None)
        stage.start(ready.model, config, start)
        ready.model.to(processes.device)
        session = Session(stage, config, ready.model, ready.data, run)
        plan = session.plan(session.resume(last) if last else 0)
        for note in ready.data.notes:
            run.log(note)
        session.log_plan(plan)
        if plan.start_step >= plan.total_steps:
            run.log("dry run: the run that is there has all its steps; nothing is left to try")
            return
        speed = measure(session, plan)
        for line in (*speed.lines(plan, ready), *places(ready, folder, scratch)):
            run.log(f"dry run: {line}")
        run.log("dry run: nothing was kept; start without train.dry_run to train")


@contextmanager
def scratch_folder(output_root: Path, processes: Processes) -> Iterator[Path]:
    """One folder for all processes, on the disk of the runs, whose features are to be found there.

    It is gone at the end, also after it was told to stop.
    """
    made: list[tempfile.TemporaryDirectory] = []
    if processes.is_main:
        parent = existing_folder(output_root)
        try:
            made.append(tempfile.TemporaryDirectory(prefix=".dry_run_", dir=parent))
        except OSError as error:
            raise UserError(
                f"cannot write to {parent}: {error.strerror}; set output_root"
            ) from None
        _link_features(output_root / "features", Path(made[0].name, "features"))
    with _ended_by_stops():
        try:
            yield Path(processes.gather([folder.name for folder in made])[0])
            processes.barrier()  # nobody reads there any more
        finally:
            for folder in made:
                folder.cleanup()


@contextmanager
def _ended_by_stops() -> Iterator[None]:
    """Let SIGTERM or a hang-up end the block as an error would, not the process on the spot."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread has handlers
        return
    meant = heeded_stops() - {signal.SIGINT}  # which is an error already

    def end(number: int, _frame: object) -> None:
        note_arrival(number)
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in meant}
    try:
        yield
    finally:
        restore_handlers(before)


def _link_features(there: Path, here: Path) -> None:
    here.mkdir()
    for path in there.glob("*.safetensors"):
        (here / path.name).symlink_to(path.absolute())


@dataclass(frozen=True)
class Speed:
    """What was measured. step_seconds: of a whole step, all processes. read_rate: images/s that all
    data workers can read, None without workers. evaluation_rate: images/s of all processes.
    memory: peak GB of the process that took most; None: it cannot be known.
    """

    step_seconds: float
    read_rate: float | None
    evaluation_rate: float
    memory: float | None
    device: torch.device

    def lines(self, plan: Plan, ready: Ready) -> list[str]:
        """Speed, memory and the time to the end."""
        batch_size = plan.config.batch_size
        step_rate = batch_size / self.step_seconds
        rate = min(step_rate, self.read_rate or step_rate)
        lines = [f"{rate:.3g} images/s, {batch_size / rate:.3g} s for a step of {batch_size}"]
        if self.read_rate is not None:
            workers = plan.config.num_workers
            limit = "which limits it" if self.read_rate < step_rate else "enough"
            lines.append(
                f"reading: about {self.read_rate:.3g} images/s with train.num_workers={workers} "
                f"for each process, {limit}; a step alone takes {self.step_seconds:.3g} s"
            )
        if self.memory is not None:
            lines.append(f"peak memory: {self.memory:.3g} GB{_of_all(self.device)}")
        steps = plan.total_steps - plan.start_step
        num_evaluated = min(len(ready.data.val), ready.config.eval.max_images or sys.maxsize)
        times = num_evaluations(plan)
        hours = steps * batch_size / rate / 3600
        evaluation_hours = times * num_evaluated / self.evaluation_rate / 3600
        lines.append(
            f"{hours + evaluation_hours:.3g} hours to the end: {hours:.3g} for {steps:,} steps, "
            f"{evaluation_hours:.3g} for {times:,} evaluations of {num_evaluated:,} images"
        )
        return lines


def _of_all(device: torch.device) -> str:
    if device.type != "cuda":
        return " of the process that took most, without its data workers"
    total = torch.cuda.get_device_properties(device).total_memory / 2**30
    return f" of {total:.3g} GB, on the GPU that took most"


def num_evaluations(plan: Plan) -> int:
    """How many there are from `start_step` to the end, where there is one in any case."""
    every, total = plan.evaluate_every, plan.total_steps
    return total // every - plan.start_step // every + (total % every > 0)


def measure(session: Session, plan: Plan) -> Speed:
    """Take two steps, read some images and evaluate two batches."""
    processes = session.run.processes
    step_seconds = take_steps(session, plan)
    read_rate = None
    if plan.config.num_workers:
        workers = plan.config.num_workers * processes.world_size
        read_rate = workers / max(processes.gather([read_seconds(session.data.train)]))
    with session.used_weights():
        image_seconds = max(processes.gather([evaluate_some(session)]))
    memory = [gb for gb in processes.gather([memory_gb(processes.device)]) if gb is not None]
    return Speed(
        step_seconds,
        read_rate,
        processes.world_size / image_seconds,
        max(memory, default=None),
        processes.device,
    )


def take_steps(session: Session, plan: Plan) -> float:
    """Train for two steps, as the loop does; the seconds that the last one took."""
    stage, config, processes = session.stage, session.config, session.run.processes
    model = wrap(
        session.model, processes, config.train.compile, stage.has_branches, session.run.log
    )
    task = bind_task(stage, config)
    update = Update(
        model, task, session.optimizer, plan.config, plan.seed, processes, session.scaler
    )
    batches = training_batches(session.data.train, plan, processes)
    last = min(plan.start_step + NUM_STEPS, plan.total_steps)
    start = time.perf_counter()
    for step in range(plan.start_step, last):
        start = time.perf_counter()
        parts: list[Any] = [next(batches) for _ in range(update.parts_per_step)]
        update(step, parts, learning_rate(plan.config, step, plan.total_steps))
        session.after_update(update.skipped)
        _wait_for(processes.device)
    return max(processes.gather([time.perf_counter() - start]))


def read_seconds(dataset: DepthDataset) -> float:
    """How long one training image takes to read and vary, in this process alone."""
    start, count = time.perf_counter(), 0
    while time.perf_counter() < start + READ_SECONDS:
        dataset[count % len(dataset), count]
        count += 1
    return (time.perf_counter() - start) / count


@torch.no_grad()
def evaluate_some(session: Session) -> float:
    """Predict and score two batches of this process; seconds for one image of the last."""
    stage, config, processes = session.stage, session.config, session.run.processes
    dataset, model = session.data.val, session.model.eval()
    rule = scoring_rule(dataset, config.eval, config.data.max_depth)
    predict = prediction_on(processes.device, model, stage.predict)
    batches, seconds = iter(evaluation_batches(dataset, config.eval, processes)), 0.0
    for _ in range(NUM_STEPS):
        start = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            break
        if isinstance(batch, Failure):
            raise batch.error
        depth, facts = predict_captions(predict, batch, rule)
        _, failures = score_batch(depth, batch, rule, facts)
        if failures:
            raise failures[0].error
        seconds = (time.perf_counter() - start) / len(batch)
    return seconds or 1e-9  # a process without an image


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def places(ready: Ready, folder: Path, scratch: Path) -> list[str]:
    """What a run would write, where, and how much."""
    config, model = ready.config, ready.model
    weights = num_bytes(model.state_dict())
    moments = num_bytes_to_resume(model, config.train.ema_decay is not None)
    train, evaluation = config.train, config.eval
    extra = ", profile/" if train.profile else ""
    extra += ", splits/" if is_searched(config.data) else ""
    lines = [
        f"a run would write to {folder}: config.yaml, log.txt, metrics.jsonl, tensorboard/, "
        f"panels/{extra}",
        f"  checkpoints/last.pt, {(weights + moments) / 1e9:.3g} GB, every {train.save_every:,} "
        f"steps, and the one before it; checkpoints/best.pt, {weights / 1e9:.3g} GB, when one of "
        f"the evaluations, every {evaluation.every:,} steps, is the best",
    ]
    if most := train.most_numbered(train.total_steps(len(ready.data.train))):
        lines.append(f"  checkpoints/step_*.pt, each as large as last.pt, {most:,} at most")
    if find_resumed(config, ready.stage.name) is not None:
        lines.append("  it would go on with the run that is there")
    holder = find_holder(folder)
    if holder is not None:
        lines.append(f"  it could not start now: the folder is being written by {holder}")
    for path in sorted((scratch / "features").glob("*.safetensors")):
        if not path.is_symlink():
            kept = config.output_root / "features" / path.name
            lines.append(f"features, once: {kept}, {path.stat().st_size / 1e9:.3g} GB")
    cache = frame_cache(config.data, ready.data.train.samples)
    if cache is not None:
        state = "is there" if cache.path.exists() else "does not exist yet"
        lines.append(
            f"decoded frames (data.cache): {cache.path}, {cache.num_bytes / 1e9:.3g} GB, {state}; "
            "not used in this trial"
        )
    return lines
