"""How Sphinx makes the API reference of docstrings: ``make api``."""

project = "fedbits"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_use_rtype = False
napoleon_use_ivar = True
suppress_warnings = ["ref.python"]  # a name that two modules have
napoleon_custom_sections = [("Schemes", "params_style")]
default_role = "code"
