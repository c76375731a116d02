"""The table of a GPU benchmark's JSON file, in markdown.

python -m benchmarks.gpu.table gpu.json
"""

import json
import sys
from pathlib import Path
from typing import Any

from common.errors import UserError, run_program

Content = dict[str, Any]
HEAVY = ("kernels", "operations")  # lists of their own
FORMAT_OF = {"plain": "fp32", "fp32": "fp32"}  # the others: bf16
STEP_PARTS = ("steps", "more_steps", "compile")
VARIANTS = ("plain", "fp32", "bf16", "compile", "checkpointing")


def main() -> None:
    """Print the table of the file that the command line names."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print((__doc__ or "").strip())
        raise SystemExit(0 if {"-h", "--help"} & set(sys.argv[1:]) else 2)
    try:
        content = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
        print(markdown(content))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{sys.argv[1]} is not a file of benchmarks/gpu.sh: {error}") from error


def markdown(content: Content) -> str:
    """Card and versions, a table of training steps, one of each other part, how each part ended."""
    card = next(iter(rows_of(content, "card")), {})
    lines = [
        f"{card.get('name', content['machine'])}, {content['versions']}, "
        f"CUDA {card.get('cuda', '-')}, driver {card.get('driver', '-')}, "
        f"commit {content['commit']}",
    ]
    if content["settings"]["tiny"]:
        lines.append("--tiny: these figures mean nothing")
    lines += ["", *step_table(content)]
    for name in content["parts"]:
        rows = [row for row in rows_of(content, name) if "variant" not in row]
        if rows or name not in STEP_PARTS:
            lines += ["", f"{name}:", *plain_table(rows)]
    for name in content["parts"]:
        for row in rows_of(content, name):
            for key in HEAVY:
                lines += time_table(row, key) if is_heavy(row.get(key)) else []
    lines += ["", "| part | status | s |", "|---|---|---|"]
    for name, part in content["parts"].items():
        lines.append(f"| {name} | {part['status']} | {cell(part.get('seconds', ''))} |")
    return "\n".join(lines)


def rows_of(content: Content, *parts: str) -> list[dict[str, Any]]:
    """The rows of these parts, those that are there."""
    return [row for name in parts for row in content["parts"].get(name, {}).get("rows", [])]


def step_table(content: Content) -> list[str]:
    """A line for each recipe, batch and variant, with the ratio to the plain step of its batch."""
    rates = {
        row["what"].rpartition(" ")[2]: row["tflops"]
        for row in rows_of(content, "card")
        if "tflops" in row
    }
    rows = [row for row in rows_of(content, *STEP_PARTS) if "variant" in row]
    speeds = {(r["what"], r["variant"], r["batch"]): r.get("images_per_s") for r in rows}
    whats = list(dict.fromkeys(row["what"] for row in rows))
    rows.sort(key=lambda r: (whats.index(r["what"]), r["batch"], VARIANTS.index(r["variant"])))
    head = "| step | batch | variant | images/s | ms | times plain | GB | TFLOP/s | of the card's |"
    lines = [head, "|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        note = "" if row.get("trains", True) else " (does not train!)"
        start = [row["what"], str(row["batch"]), row["variant"] + note]
        if "error" in row:
            lines.append(joined([*start, row["error"], *[""] * 5]))
            continue
        base = speeds.get((row["what"], "plain", row["batch"]))
        rate = rates.get(FORMAT_OF.get(row["variant"], "bf16"))
        values = [
            row["images_per_s"],
            row["ms"],
            row["images_per_s"] / base if base else "",
            row["memory_gb"],
            row["tflops"],
            f"{100 * row['tflops'] / rate:.0f} %" if rate else "",
        ]
        lines.append(joined([*start, *map(cell, values)]))
    return lines


def plain_table(rows: list[dict[str, Any]]) -> list[str]:
    """A column for every value that some row has; long ones in words."""
    names = list(dict.fromkeys(k for row in rows for k, v in row.items() if not is_heavy(v)))
    if not rows:
        return ["nothing"]
    lines = [joined(names), joined(["---"] * len(names))]
    return [*lines, *(joined([cell(row.get(name, "")) for name in names]) for row in rows)]


def time_table(row: dict[str, Any], key: str) -> list[str]:
    """The longest kernels or operations of a profiled step."""
    whole = row["kernel_ms"]
    lines = ["", f"{row['what']}, {key}:", "| name | ms | share | calls |", "|---|---|---|---|"]
    for entry in row[key]:
        share = f"{100 * entry['ms'] / whole:.1f} %" if whole else ""
        name = entry["name"].replace("|", "\\|")
        lines.append(joined([name, cell(entry["ms"]), share, cell(entry["calls"])]))
    return lines


def is_heavy(value: Any) -> bool:
    """What has a table of its own."""
    return isinstance(value, list)


def joined(cells: list[str]) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"


def cell(value: Any) -> str:
    """A value as the table shows it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {cell(entry)}" for key, entry in value.items()) or "none"
    return str(value).replace("|", "\\|")


if __name__ == "__main__":
    run_program(main)
