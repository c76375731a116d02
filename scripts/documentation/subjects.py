"""Which part of the troubleshooting page a file's messages belong to."""

from common.errors import UserError

# Title: the files and folders whose messages it has. The longest path that fits decides.
SUBJECTS: dict[str, tuple[str, ...]] = {
    "Settings and the command line": (
        "common/config",
        "common/data/data_config.py",
        "common/data/subsets.py",
        "common/engine/train_config.py",
        "common/losses/",
        "common/programs/run_config.py",
        "common/programs/stage.py",
        "common/programs/train.py",
        "stage1_vae/",
        "stage2_sampler/",
        "stage3_depth/",
    ),
    "Lists, splits and folders of data": (
        "common/data/",
        "common/fingerprints.py",
        "common/programs/assembly.py",
        "common/images/folder_index.py",
        "common/shards.py",
        "scripts/doctor",
        "scripts/pack",
    ),
    "Pictures and depth maps": (
        "common/images/",
        "common/data/bad_images.py",
        "common/data/frames.py",
        "common/programs/bad_data.py",
        "common/data/ground_truth.py",
        "common/programs/preflight.py",
    ),
    "Captions, features and text encoders": (
        "common/language/",
        "scripts/caption_images.py",
        "scripts/encode_text.py",
        "scripts/import_captions.py",
        "scripts/preparation/caption_parts.py",
        "scripts/preparation/image_sets.py",
        "scripts/preparation/published_text.py",
    ),
    "Checkpoints, and going on with a run": (
        "common/data/kept_checks.py",
        "common/data/kept_data.py",
        "common/networks/published/",
        "common/programs/run.py",
        "common/programs/session.py",
        "common/programs/training.py",
        "common/runtime/checkpoint_folder.py",
        "common/runtime/checkpoints.py",
        "common/runtime/claims.py",
        "common/runtime/saved_models.py",
        "scripts/conversion/",
        "scripts/convert_checkpoint.py",
    ),
    "Networks, their weights and model hubs": (
        "common/networks/",
        "common/runtime/hub.py",
        "llm_mde/",
    ),
    "Memory, disk and GPU": (
        "common/data/frame_cache.py",
        "common/data/workers.py",
        "common/files.py",
        "common/programs/dry_run.py",
        "common/runtime/machine.py",
        "common/runtime/precision.py",
        "common/shortages.py",
    ),
    "While it trains": (
        "common/engine/",
        "common/programs/step_dumps.py",
        "common/programs/wandb_board.py",
        "scripts/replay.py",
    ),
    "Several processes, several machines": (
        "common/errors.py",
        "common/runtime/deadline.py",
        "common/runtime/launcher.py",
        "common/runtime/machine_watch.py",
        "common/runtime/processes.py",
    ),
    "Scoring and known distances": (
        "common/data/kitti_benchmark.py",
        "common/evaluation/",
        "common/programs/draws.py",
        "common/programs/evaluate.py",
        "common/programs/evaluation_options.py",
        "common/programs/result_files.py",
        "common/programs/submission.py",
        "scripts/calibrate.py",
        "scripts/scale_errors.py",
        "scripts/score.py",
        "scripts/scoring/",
        "scripts/text_baselines.py",
    ),
    "Prediction, sharing and export": (
        "common/programs/exported.py",
        "common/runtime/exported_files.py",
        "hubconf.py",
        "scripts/app.py",
        "scripts/export",
        "scripts/page/",
        "scripts/predict",
    ),
    "Preparing data sets": (
        "scripts/demo_renderer/",
        "scripts/make_demo_data.py",
        "scripts/preparation/",
        "scripts/prepare_",
    ),
    "The environment": ("scripts/lock.py", "scripts/pinning/"),
    "Studies, few-shot runs and reports": (
        "common/pages/",
        "scripts/few_shot.py",
        "scripts/report",
        "scripts/run_plans/",
        "scripts/study.py",
    ),
    "Questions about words": ("scripts/explore_prior.py", "scripts/probes/", "scripts/wordings.py"),
}


def subject_of(path: str) -> str:
    """The title of the part; a `UserError` if no part has the file."""
    fitting = [
        (len(start), title)
        for title, starts in SUBJECTS.items()
        for start in starts
        if path.startswith(start)
    ]
    if not fitting:
        raise UserError(
            f"{path} says something to users and has no place on the troubleshooting page; name "
            "its subject in scripts/documentation/subjects.py"
        )
    return max(fitting)[1]
