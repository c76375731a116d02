"""Commands that write a corrected copy of a list file; the list itself stays as it is.

    EditableList(Path("train.txt"), "data.train_list").without_prefix("mnt/storage/author/nyu")

gives a line for the shell that writes train_corrected.txt, and the setting that names that file.
"""

from dataclasses import dataclass
from pathlib import Path

from common.data.list_prefix import strip_command
from scripts.doctor_checks.findings import Fix, quoted


@dataclass(frozen=True)
class EditableList:
    """A list file and the config key that names it."""

    path: Path
    key: str

    def without_prefix(self, prefix: str) -> Fix:
        """Image and depth paths that start with the folders `prefix` lose them."""
        command, copy = strip_command(self.path, [prefix])
        return Fix(command, (f"{self.key}={copy}",))

    def with_slashes(self) -> Fix:
        """Windows' \\ becomes /."""
        return self._copied(r"sed 's|\\|/|g'")

    def with_suffix(self, column: int, old: str, new: str) -> Fix:
        """The paths of a column, counted from 1, end in `new` where they ended in `old`."""
        return self._copied(self._awk(rf'sub(/\{old}$/, "{new}", ${column}); print'))

    def with_columns_exchanged(self) -> Fix:
        """The second column comes first."""
        return self._copied(self._awk("first = $1; $1 = $2; $2 = first; print"))

    def without_repeats(self) -> Fix:
        """Every image keeps its first line."""
        return self._copied(self._awk("if (!seen[$1]++) print"))

    def divided(self, num_lines: int, num_last: int) -> Fix:
        """The last lines become the validation list, the others the training list."""
        train, val = (self._beside(name) for name in ("train_part", "val_part"))
        path, num_first = quoted(self.path), num_lines - num_last
        command = f"head -n {num_first} {path} > {quoted(train)}"
        command += f" && tail -n {num_last} {path} > {quoted(val)}"
        return Fix(command, (f"data.train_list={train}", f"data.val_list={val}"))

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(f"{self.path.stem}_{ending}{self.path.suffix}")

    def _copied(self, command: str) -> Fix:
        copy = self._beside("corrected")
        return Fix(f"{command} {quoted(self.path)} > {quoted(copy)}", (f"{self.key}={copy}",))

    def _awk(self, program: str) -> str:
        """An awk call that knows what stands between the columns of this list."""
        separator = next((mark for mark in ("\t", ",") if mark in self._first_line()), "")
        between = quoted(separator.replace("\t", "\\t"))
        options = f" -F {between} -v OFS={between}" if separator else ""
        program = r'{ sub(/\r$/, ""); ' + program + " }"
        return f"awk{options} {quoted(program)}"

    def _first_line(self) -> str:
        try:
            with self.path.open(encoding="utf-8", errors="replace") as lines:
                return next((line for line in lines if line.strip()), "")
        except OSError:
            return ""
