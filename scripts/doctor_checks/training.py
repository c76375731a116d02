"""What training and scoring would refuse, by their own code."""

from common.data.data_config import DataConfig
from common.data.dataset import build_dataset
from common.data.splits import configured_splits, find_split
from common.errors import UserError
from common.evaluation.protocols import ProtocolMismatch
from common.evaluation.scoring import EvalConfig
from common.programs.preflight import check_configured_data, check_evaluation
from scripts.doctor_checks.findings import Finding, advice, problem, settings


def try_as_training(data: DataConfig, evaluation: EvalConfig) -> list[Finding]:
    """The last word on data in which nothing else was found."""
    splits = configured_splits(data)
    if "train" in splits and "val" not in splits:
        text = "training needs validation images, and data.val_share=0 leaves none"
        return [
            problem("no_validation", text, fix=settings(f"data.val_share={DataConfig.val_share:g}"))
        ]
    findings = []
    try:
        if "train" in splits:
            check_configured_data(data, evaluation)
        if "test" in splits:
            test = build_dataset(data, find_split(data, "test"))
            check_evaluation(test, evaluation, data.max_depth)
    except ProtocolMismatch as error:
        fix = settings("eval.protocol=none")
        findings.append(problem("wrong_protocol", str(error).partition("; ")[0], fix=fix))
    except UserError as error:
        text, _, remedy = str(error).partition("; ")
        findings.append(problem("refused", f"training refuses it: {text}", fix=advice(remedy)))
    return findings
