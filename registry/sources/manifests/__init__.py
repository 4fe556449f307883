"""A member cluster as a folder of manifests, as ``kubectl get -o yaml`` exports them.

``objects`` one file's text as what is read of its objects, or what is wrong with it (pure)
``files``   that as facts (pure)
``folder``  all files together: what they say now, what changed, what is wrong (pure)
``disk``    the folder and its files on disk
``large``   large files, read by a ``child`` process
``source``  the folder, watched
"""

from registry.sources.manifests.source import ManifestsSource

__all__ = ["ManifestsSource"]
