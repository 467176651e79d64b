"""Formulas as MathML, which browsers draw by themselves: no script, and no other host."""

from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx


def _formula(node: nodes.Node, as_block: bool = False) -> str:
    # A space behind "log", which browsers leave out.
    return tex2mathml(node.astext(), as_block=as_block).replace("<mo>&ApplyFunction;</mo>", '<mspace width="0.17em"/>')


def _inline(self: Any, node: nodes.math) -> None:
    self.body.append(_formula(node))
    raise nodes.SkipNode


def _block(self: Any, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">{_formula(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
