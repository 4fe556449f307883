"""A member cluster as a folder of manifests, as ``kubectl get -o yaml`` exports them.

``files``   one file's text as facts, or what is wrong with it (pure)
``folder``  all files together: what they say now, what changed, what is wrong (pure)
``source``  the folder on disk, watched
"""

from registry.sources.manifests.source import ManifestsSource

__all__ = ["ManifestsSource"]
