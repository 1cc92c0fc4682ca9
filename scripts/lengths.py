"""Fail when a file or a function of the package has grown past what a reader can hold."""

import ast
import sys
from pathlib import Path

FILE = (300, 400)
FUNCTION = (40, 60)


def main() -> int:
    """Print what is long (noted) or too long (refused); 1 when anything is refused."""
    refused = False
    for path in sorted(Path("app").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        found = [(str(path), text.count("\n"), FILE)]
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                found.append((f"{path}:{node.lineno} {node.name}", length, FUNCTION))
        for where, length, (wanted, most) in found:
            if length > wanted:
                verdict = f"too long, at most {most}" if length > most else f"long, aim for {wanted}"
                print(f"{where}: {length} lines: {verdict}")
            refused = refused or length > most
    return int(refused)


if __name__ == "__main__":
    sys.exit(main())
