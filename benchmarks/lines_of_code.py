"""Lines of code of the package, without docstrings, comments and blanks: now, or at a commit.

    python benchmarks/lines_of_code.py                     # the working tree
    python benchmarks/lines_of_code.py baseline-0 HEAD     # two commits, and their ratio

A line counts if a token of the program stands on it; docstrings (found by ``ast``) do not count,
other texts do.
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTHING = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(source: str) -> int:
    """Count the lines of a module that hold code."""
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NOTHING:
            held.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node
        ):
            held.difference_update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(held)


def package_at(revision: str | None) -> dict[str, str]:
    """Return path -> source of the package's modules, in the working tree or at a commit."""
    if revision is None:
        return {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in sorted(ROOT.glob("biot_bd/**/*.py"))}
    git = ["git", "-C", str(ROOT)]
    listed = subprocess.run(
        [*git, "ls-tree", "-r", "--name-only", revision, "biot_bd"], capture_output=True, text=True, check=True
    )
    paths = [path for path in listed.stdout.splitlines() if path.endswith(".py")]
    return {
        p: subprocess.run([*git, "show", f"{revision}:{p}"], capture_output=True, text=True, check=True).stdout
        for p in paths
    }


def main(revisions: list[str]) -> None:
    """Print the counts by room, and their ratio to the first revision."""
    first = None
    for revision in revisions or [None]:
        counts: dict[str, int] = {}
        for path, source in package_at(revision).items():
            room = path.split("/")[1]
            counts[room] = counts.get(room, 0) + code_lines(source)
        total = sum(counts.values())
        first = first or total
        print(f"{revision or 'working tree'}: {total:,} lines of code ({total / first - 1:+.1%})")
        print("  " + ", ".join(f"{room} {n:,}" for room, n in sorted(counts.items())))


if __name__ == "__main__":
    main(sys.argv[1:])
