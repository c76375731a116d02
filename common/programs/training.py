"""Train a network to the end of its run: resume, take the steps, end with everything saved."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import nn

from common.engine.fetching import SharedError
from common.engine.loop import Plan, fit
from common.engine.profiling import profile_steps
from common.errors import INTERRUPTED, UserError
from common.programs.assembly import Data, training_batches
from common.programs.remedies import training_remedies
from common.programs.rescue import save_before_error
from common.programs.run import Run
from common.programs.run_config import RunConfig
from common.programs.session import Session, bind_task
from common.programs.stage import Stage
from common.runtime.processes import wrap
from common.runtime.signals import Interrupted, catch_signals
from common.shortages import as_shortage


def train_to_the_end(
    stage: Stage, config: RunConfig, model: nn.Module, data: Data, run: Run
) -> None:
    """Train `model`, whose `describe()` is what rebuilds it."""
    processes = run.processes
    model.to(processes.device)
    session = Session(stage, config, model, data, run)
    plan = session.plan(session.resume(run.resumed) if run.resumed else 0)
    run.rewind(plan.start_step)
    if run.resumed is None:
        session.bad_data.restore([])  # a run that is started over has the list of its folder
    for note in data.notes:
        run.log(note)
    if plan.start_step >= plan.total_steps and not plan.evaluate_first:
        run.log(f"already trained: {plan.start_step} of {plan.total_steps} steps; nothing to do")
        return
    session.log_plan(plan)
    remedies = training_remedies(config, processes.world_size)

    def rescue(done: int, error: Exception) -> None:
        alone = error if isinstance(error, SharedError) else as_shortage(error, remedies)
        save_before_error(session, plan, done, alone)

    try:
        with (
            saves_finished(session, plan),
            profiler(run, config.train.profile, plan.start_step) as after_step,
        ):
            fit(
                wrap(model, processes, config.train.compile, stage.has_branches, run.log),
                bind_task(stage, config),
                training_batches(data.train, plan, processes, session.bad_data.images.add),
                session.optimizer,
                plan,
                session.hooks(after_step, rescue),
                processes,
                session.scaler,
            )
    except Interrupted as stopped:
        run.log(stopped.describe(plan.start_step, plan.total_steps))
        raise SystemExit(INTERRUPTED) from None
    except KeyboardInterrupt:
        run.log(f"interrupted at once; {session.describe_saved(plan)}")
        raise SystemExit(INTERRUPTED) from None
    session.bad_data.tell_all()


@contextmanager
def saves_finished(session: Session, plan: Plan) -> Iterator[None]:
    """The block ends, however it does, when what it has saved is whole.

    A signal does not cut the last write short; a second Ctrl-C from here on does.
    """
    try:
        yield
    finally:
        with catch_signals() as caught, caught.saving():
            try:
                session.saver.finish()
            except UserError as error:
                raise UserError(f"{error}; {session.describe_saved(plan)}") from error


def profiler(
    run: Run, is_wanted: bool, start_step: int
) -> AbstractContextManager[Callable[[], None]]:
    """Gives what to call after each step; does nothing unless this process writes a trace."""
    if not (is_wanted and run.processes.is_main):
        return nullcontext(lambda: None)
    return profile_steps(run.folder / "profile", run.processes.device, run.log, start_step)
