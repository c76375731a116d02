"""What the rows of a study can be: recipes that are trained, and numbers made without training."""

from dataclasses import dataclass

from scripts.run_plans.recipes import RECIPES, RecipeStage


@dataclass(frozen=True)
class RowKind:
    """How a row comes to its scores.

    stages: in their order; the last one is scored. program: what scores it, a file of this
    repository that takes the options of `eval.py`; None: the `eval.py` of the last stage.
    arguments: its first ones. is_trained: False: nothing is trained; the program gets the YAML file
    of the last stage and all overrides, as a training would, with `--json` and `--csv`, and with
    `--score-control` where it is scored with other words than trained with.
    """

    stages: tuple[RecipeStage, ...]
    program: str | None = None
    arguments: tuple[str, ...] = ()
    is_trained: bool = True

    @property
    def untrained(self) -> tuple[str, ...]:
        """What makes its numbers without training; nothing where it is trained."""
        return () if self.is_trained else (str(self.program), *self.arguments)


BASELINES = "scripts/text_baselines.py"
# Scenes drawn from the words alone, per image: R2 and NLL of so many are off by about 1 / 400.
DRAWS = ("--samples", "400")
ROW_KINDS: dict[str, RowKind] = {
    **{name: RowKind(stages) for name, stages in RECIPES.items()},
    "stage1": RowKind(RECIPES["stage1"], arguments=DRAWS),
    "joint-words": RowKind(RECIPES["joint"], arguments=DRAWS),  # of joint, what its text step says
    **{
        name: RowKind(RECIPES["stage1"], BASELINES, ("--what", what), is_trained=False)
        for name, what in (
            ("constant", "constant"), ("room-type", "room_type"), ("linear", "linear"),
        )
    },
}  # fmt: skip
STAGE_NAMES = tuple(dict.fromkeys(name for kind in ROW_KINDS.values() for name, _ in kind.stages))
