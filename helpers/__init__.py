"""Find faulty electronic parts in images: the package behind the numbered notebooks.

Modules are layered; each imports only from layers below it (see README.md). Importing does nothing.
"""

__version__ = "0.1.0"
