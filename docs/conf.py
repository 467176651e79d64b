"""Settings of the documentation site; `make docs` builds it, without the network."""

import sys
from pathlib import Path

import biot_bd

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "biot_bd"
author = "The biot_bd developers"
copyright = "The biot_bd developers, BSD-3-Clause"
version = release = biot_bd.__version__

extensions = [
    "sphinx.ext.autodoc",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "api_reference",
    "command_reference",
    "hook_reference",
    "inline_code",
    "mathml",
    "outer_pages",
]
exclude_patterns = ["_build", "_ext", "gallery", "walks"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

autodoc_typehints = "none"  # types stand in the docstrings, with shapes and units
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # api_reference lists the members that are ours

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

sphinx_gallery_conf = {
    "examples_dirs": ["walks", "gallery"],
    "gallery_dirs": ["learn", "examples"],
    "filename_pattern": r"plot_",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "reset_modules": ("matplotlib", "seeds.fix"),
}

# What stands for an address of the reader's own.
linkcheck_ignore = [r"https?://(localhost|127\.0\.0\.1)", r"https://ADDRESS/"]
linkcheck_timeout = 20

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "biot_bd"
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
html_context = {"default_mode": "auto"}  # without it every page complains on its console
html_static_path = ["_static/site"]
html_css_files = ["site.css"]
html_sidebars = {"getting-started": []}  # a part of one page has nothing to list
html_show_sourcelink = False
highlight_language = "bash"  # blocks that are indented are commands
