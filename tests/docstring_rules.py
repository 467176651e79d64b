"""What the docstring of a public name must have; `python tests/docstring_rules.py` prints what is missing."""

import ast
import importlib.util
import inspect
import sys
import textwrap
import warnings
from pathlib import Path

from numpydoc.validate import validate

ROOT = Path(__file__).resolve().parents[1]

#: Codes of numpydoc.validate that hold for every public function and class.
CODES = {
    "GL03": "no double blank line",
    "GL05": "spaces, no tabs",
    "GL06": "known sections only",
    "GL07": "sections in numpydoc's order",
    "GL08": "a docstring",
    "GL10": "directives with two colons",
    "SS01": "a summary",
    "SS02": "that begins with a capital",
    "SS03": "and ends with a period",
    "SS04": "without leading spaces",
    "PR01": "every parameter documented",
    "PR02": "no parameter that does not exist",
    "PR04": "each with its type",
    "PR06": "by Python's names (str, bool, int)",
    "PR07": "and with what it is",
    "PR10": "a space before the colon",
    "RT01": "what it returns",
    "YD01": "or yields",
    "SA01": "See Also",
    "SA04": "with a word on each",
    "EX01": "an example",
}
#: Codes left out, and why.
LEFT_OUT = {
    "GL01": "text begins on the line of the quotes, as PEP 257 has it",
    "GL02": "one-line docstrings close on their line",
    "GL09": "nothing is deprecated",
    "SS05": "classes are nouns, and numpydoc takes 'Does' for an error of style in them",
    "SS06": "a summary may need a second line; the linter (D205) holds the blank line behind it",
    "ES01": "a summary may say all",
    "PR03": "parameters of one kind are documented together",
    "PR05": "types may end in a sentence about shapes",
    "PR08": "descriptions begin with names and numbers, too",
    "PR09": "tables and lists end as they end",
    "RT02": "named results are allowed",
    "RT03": "a type may say all",
    "RT04": "as PR08",
    "RT05": "as PR09",
    "SA02": "as PR09",
    "SA03": "as PR08",
}
#: An exception's example is the code that raises it, which See Also names.
NOT_OF_EXCEPTIONS = {"EX01"}
#: A method may have one line; what it documents must be right.
OF_METHODS = {"GL03", "GL05", "GL06", "GL07", "GL08", "PR02", "PR06", "PR10", "SS01", "SS03", "SS04"}
RAISES, CONSTANT = "RAISES", "CONSTANT"


def load_reference():
    """Return the extension of the site that finds the public names."""
    if "api_reference" not in sys.modules:
        spec = importlib.util.spec_from_file_location("api_reference", ROOT / "docs" / "_ext" / "api_reference.py")
        sys.modules["api_reference"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["api_reference"])
    return sys.modules["api_reference"]


def raises_itself(obj) -> bool:
    """True where the body of a function, or of a class's constructor, has a ``raise`` of its own."""
    function = inspect.unwrap(obj.__init__ if inspect.isclass(obj) else obj)
    if not inspect.isfunction(function) or not function.__module__.startswith("biot_bd"):
        return False
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except OSError:  # made by a dataclass
        return False
    return any(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(ast.parse(source)))


def faults_of(address: str, obj, wanted) -> set[str]:
    """Return the codes that the docstring at ``address`` breaks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {code for code, _ in validate(address)["errors"]} & set(wanted)
    if raises_itself(obj) and "Raises\n---" not in (inspect.getdoc(obj) or ""):
        found.add(RAISES)
    return found


def all_faults() -> dict[str, set[str]]:
    """Return what is missing: address of a public name, or of a method of one, -> codes."""
    reference = load_reference()
    found = {}
    for name in set(reference.pages().values()):
        if name.kind == "data":
            found[name.address] = set() if name.doc else {CONSTANT}
            continue
        left_out = NOT_OF_EXCEPTIONS if name.kind == "exception" else set()
        found[name.address] = faults_of(name.address, name.obj, set(CODES) - left_out)
        if name.kind == "class":
            for member in reference.members_of(name.obj):
                if getattr(getattr(getattr(name.obj, member), "fget", None), "__name__", "") == "<lambda>":
                    continue  # a fact of ``facts_``, told under Attributes
                found[f"{name.address}.{member}"] = faults_of(
                    f"{name.address}.{member}", getattr(name.obj, member), OF_METHODS
                ) - {RAISES}
    return found


def lines_of(faults: dict[str, set[str]]) -> list[str]:
    """Return one line a name that lacks something."""
    return [f"{address} {' '.join(sorted(codes))}" for address, codes in sorted(faults.items()) if codes]


if __name__ == "__main__":
    print("\n".join(lines_of(all_faults())))
