"""Which settings help where a machine has too little of something, for the config at hand."""

from common.data import workers
from common.evaluation.scoring import EvalConfig
from common.programs.run_config import RunConfig
from common.shortages import GPU_MEMORY, HOST_MEMORY


def training_remedies(config: RunConfig, num_processes: int) -> workers.Remedies:
    """For what runs out in training; smaller parts come first, which change no number."""
    train = config.train
    part_size = train.micro_batch_size or -(-train.batch_size // num_processes)
    ways = []
    if part_size > 1:
        ways.append(
            f"set train.micro_batch_size={part_size // 2} (the same training in smaller parts)"
        )
    encoder = getattr(getattr(config, "model", None), "encoder", None)
    if encoder is not None and encoder.name == "swin" and not encoder.activation_checkpointing:
        ways.append("set model.encoder.activation_checkpointing=true")
    ways.append("lower data.height and data.width")
    if part_size == 1:
        ways.append("use a smaller network")
    text = " or ".join(ways[:2])
    workers_too = "set train.num_workers=0, " if train.num_workers else ""
    return workers.TRAINING | {
        GPU_MEMORY: text,
        HOST_MEMORY: f"{workers_too}{text} or give the job more memory (Slurm: --mem)",
    }


def evaluation_remedies(config: EvalConfig) -> workers.Remedies:
    """For what runs out in an evaluation."""
    text = "lower data.height and data.width"
    if config.batch_size > 1:
        text = f"set eval.batch_size={config.batch_size // 2}"
    return workers.EVALUATION | {
        GPU_MEMORY: text,
        HOST_MEMORY: f"{text} or give the job more memory (Slurm: --mem)",
    }
