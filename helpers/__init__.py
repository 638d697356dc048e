"""Find faulty electronic parts in images: the package behind the numbered notebooks.

README.md shows its rooms. Importing them does nothing.
"""

__version__ = "0.2.0.dev0"
