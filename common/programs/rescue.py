"""What an error leaves of a training: the run is saved first, and the error's line says so."""

from itertools import chain
from typing import Protocol

import torch
from torch import nn

from common.engine.fetching import SharedError
from common.engine.loop import Plan
from common.errors import UserError
from common.programs.run import Run
from common.programs.saving import Saver


class SavedSession(Protocol):
    """What can be saved."""

    model: nn.Module
    run: Run
    saver: Saver

    def save(self, step: int) -> None: ...


def save_before_error(session: SavedSession, plan: Plan, done: int, error: Exception) -> None:
    """Save the `done` steps that an error would lose, and tell where the run goes on.

    A user's error is raised again with that in its line; before any other one it is logged. What
    one of several processes meets alone is saved only if that is the main one: no process waits
    for another here, except after a `SharedError`, for which all are here.
    """
    processes, is_shared = session.run.processes, isinstance(error, SharedError)
    if isinstance(error, SharedError):
        done, error = error.done, error.error
    if processes.is_main or is_shared:
        _save(session, done)
    if is_shared:
        processes.barrier()  # the first that leaves has all others ended
    where = _describe(session.saver.saved_step, done, plan.total_steps)
    if isinstance(error, UserError):
        raise UserError(f"{error}{where and f'; {where}'}") from error
    if where:
        session.run.log(where)


def _save(session: SavedSession, done: int) -> None:
    try:
        if done > session.saver.saved_step and not _has_nan(session.model):
            session.save(done)
        session.saver.finish()
    except Exception as failure:  # a full disk, a GPU that is lost: the error itself is still told
        session.run.log(f"step {done} could not be saved: {failure}")


def _describe(saved: int, done: int, total: int) -> str:
    if saved:
        lost = f"; the {done - saved} steps after it are lost" if done > saved else ""
        return f"the run is saved at step {saved} of {total}, where the same command goes on{lost}"
    return f"nothing of its {done} steps is saved" if done else ""


def _has_nan(model: nn.Module) -> bool:
    """Whether what would be saved is spoilt: better an older checkpoint than this one."""
    trained = (parameter for parameter in model.parameters() if parameter.requires_grad)
    return any(bool(torch.isnan(tensor).any()) for tensor in chain(trained, model.buffers()))
