"""Container images of this project, made on a machine that has neither Docker nor a registry.

An image is a stack of layers, a layer is a directory tree in the cache, named by a key of what goes into it. Nothing is
built twice, and no big tar is ever written to disk: layers are streamed into the container store that will run them.
"""

from e2e.images.names import ImageNames, image_names


__all__ = ["ImageNames", "image_names"]
