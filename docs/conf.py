"""Configuration of Sphinx; ``scripts/docs`` builds the site."""

from nnmpi import __version__

project = "nnmpi"
author = "The nnmpi developers"
copyright = "the nnmpi developers"
release = version = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx-mathjax-offline",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # links such as benchmarks.md#what-is-compared
numpydoc_show_class_members = False  # the pages list the members to show
autodoc_typehints = "none"  # the docstrings name the types
copybutton_prompt_text = "$ "

html_theme = "pydata_sphinx_theme"
html_title = "nnmpi"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_sourcelink = False
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "footer_end": [],
    "show_toc_level": 2,
}
